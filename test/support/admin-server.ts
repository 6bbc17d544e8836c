import { Writable } from "node:stream";
import { createAdminHandler } from "../../src/http/admin-handler.ts";
import type { Address } from "../../src/http/listening.ts";
import { listen, type RunningServer } from "../../src/http/server.ts";
import { createLogger } from "../../src/observe/log.ts";
import { createMetrics, type Metrics } from "../../src/observe/metrics.ts";
import { type FakeAdministration, rules } from "./administration.ts";

/** A listening server that serves an administration and nothing else. */
export interface AdminServer extends RunningServer, AsyncDisposable {
  readonly metrics: Metrics;
  /** The log's lines so far. */
  readonly log: () => string;
}

/** Serves an administration on a free port; without one, as a listener that has none. */
export async function serveAdministration(
  fake: FakeAdministration | undefined,
  settings: { readonly token?: string; readonly address?: Address; readonly bodyMs?: number } = {},
): Promise<AdminServer> {
  const { token, address = { host: "127.0.0.1", port: 0 }, bodyMs } = settings;
  let lines = "";
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines += chunk.toString();
      done();
    },
  });
  const log = await createLogger({ level: "info", format: "json", destination });
  const metrics = createMetrics("1");
  const health = { reasonsAgainst: () => [], details: async () => ({}) };
  const server = await listen(address, {
    handler: undefined,
    admin:
      fake &&
      createAdminHandler({
        administration: fake.administration,
        rules,
        version: "1",
        token: token === undefined ? undefined : async () => token,
      }),
    probes: { admin: true, metrics, health },
    log,
    metrics,
    ...(bodyMs !== undefined && { bodyMs }),
  });
  return { ...server, metrics, log: () => lines, [Symbol.asyncDispose]: () => server.drain(AbortSignal.abort()) };
}
