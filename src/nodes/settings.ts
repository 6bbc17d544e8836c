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

/** `host:port`, with brackets around an IPv6 address. */
export function formatEndpoint({ host, port }: Endpoint): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Why a URL cannot be written as a host's name in a `hosts.toml`, with what to do; `undefined` where it can. */
export function refuseAsHost(mirror: string): string | undefined {
  if (!mirror.includes("[")) return undefined;
  return (
    "containerd 1.x cannot read a hosts.toml with an IPv6 address in brackets, and ignores the file: name a host " +
    "(http://mirror.example.com:8080), or use --relay 127.0.0.1:6500=HOST:PORT, whose target may have IPv6 alone"
  );
}
