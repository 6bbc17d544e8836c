import type { TestContext } from "node:test";
import type { NameLookup } from "../../../src/upstream/addresses.ts";
import { createDispatcher } from "../../../src/upstream/dispatcher.ts";
import { certificate } from "./certificate.ts";
import { fiveSeconds, answer, type Handler, startServer, type StartOptions, startUpstream } from "./scripted.ts";

/** A few hosts, each a name with a server of its own behind https; all of them share a port. */
export interface World {
  /** `METHOD host/path?query Authorization`, in order; the port is left out, and no Authorization is `-`. */
  readonly asked: string[];
  /** All that was sent to each host, in order: request line, headers, body. */
  readonly seen: readonly { readonly host: string; text: string }[];
  /** `host` with the port that all of them share. */
  at(host: string): string;
}

/** How a host answers; `host` gives another host's address. */
export type HostHandler = (...args: [...Parameters<Handler>, at: (host: string) => string]) => void;

export const toLoopback: NameLookup = (_hostname, _options, callback) =>
  callback(null, [{ address: "127.0.0.1", family: 4 }]);

/**
 * Starts the hosts (of example.com and example.org, as the certificate is for these) and a client of the first. What is
 * asked of any other host is answered with 599.
 */
export async function startWorld(
  context: TestContext,
  hosts: Readonly<Record<string, HostHandler>>,
  options: StartOptions = {},
): Promise<World & ReturnType<typeof startUpstream>> {
  const asked: string[] = [];
  const seen: { host: string; text: string }[] = [];
  const server = await startServer(
    context,
    (request, response, path) => {
      const name = (request.headers.host ?? "").replace(/:.*$/, "");
      asked.push(`${request.method} ${name}${path} ${request.headers.authorization ?? "-"}`);
      const sent = { host: name, text: `${request.method} ${path}\n${request.rawHeaders.join("\n")}\n` };
      seen.push(sent);
      if (request.method === "POST") {
        request.setEncoding("utf8").on("data", (text: string) => (sent.text += text));
      }
      const handler = hosts[name];
      if (handler === undefined) {
        answer(response, 599);
      } else {
        handler(request, response, path, at);
      }
    },
    certificate,
  );
  const port = server.host.replace(/^.*:/, "");
  const at = (host: string): string => `${host}:${port}`;
  // The certificate is not what these tests are about, and to add it to the built-in ones takes time.
  const trusting = { tls: true, acceptInvalidCerts: true, lookup: toLoopback };
  // Without the guard, which would refuse this machine's address.
  const publicDispatcher = options.publicDispatcher ?? createDispatcher({ timeouts: fiveSeconds, ...trusting });
  const first = Object.keys(hosts)[0] ?? "";
  const started = startUpstream(context, at(first), { ...trusting, ...options, publicDispatcher });
  return { asked, seen, at, ...started };
}
