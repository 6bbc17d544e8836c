/** Where the runtimes of a node have their files, and whose part of them is meant. */
export interface NodeSettings {
  /** Nothing of another owner is ever changed. */
  readonly owner: string;
  /** Where the node's `/` is. */
  readonly hostRoot: string;
  /** Paths on the node. */
  readonly containerdConfig: string;
  /** Where to write in any case; `none`: nothing of containerd is looked at. `undefined`: where its configuration says. */
  readonly containerdHosts: string | undefined;
  readonly crio: string | undefined;
}

/** What the runtimes are to be told. */
export interface Wanted {
  /** The mirror's address, such as `http://127.0.0.1:6500`. */
  readonly mirror: string;
  /** `docker.io`, `registry.example.com:5000`; `*` is containerd's `_default`. */
  readonly registries: readonly string[];
}

/** An address of TCP. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}
