import { install, run } from "./programs.ts";

/** Runs a client with these arguments, and gives what it wrote to standard output. */
export type Client = (...args: readonly string[]) => Promise<string>;

/** Clients that need no engine. Each keeps what it has to keep in one folder, and asks without TLS. */
export interface PushTools {
  readonly skopeo: Client;
  readonly crane: Client;
  readonly oras: Client;
  readonly regctl: Client;
  readonly helm: Client;
}

/** Makes them ready, and builds those that were not built before. */
export async function preparePushTools(directory: string, host: string): Promise<PushTools> {
  const [programs, helm] = await Promise.all(["push-tools", "helm"].map(install));
  const client =
    (program: string, ...common: readonly string[]): Client =>
    (...args) =>
      run([program, ...common, ...args], { HOME: directory });
  return {
    skopeo: client("/usr/bin/skopeo", "--insecure-policy", "--override-os", "linux", "--override-arch", "amd64"),
    crane: client(`${programs}/crane`, "--insecure"),
    oras: client(`${programs}/oras`),
    regctl: client(`${programs}/regctl`, "--host", `reg=${host},tls=disabled`),
    helm: client(helm ?? ""),
  };
}
