import { createRequire } from "node:module";
import type * as undici from "undici";

// The parts of undici that make connections, by their files: its entry point loads `fetch`, WebSockets, caches and mocks
// as well, which take 11 MiB of every mirror. Types come from the package itself.
const load = createRequire(import.meta.url);

/** What all dispatchers are made of. */
export const Dispatcher = load("undici/lib/dispatcher/dispatcher.js") as typeof undici.Dispatcher;
export const Pool = load("undici/lib/dispatcher/pool.js") as typeof undici.Pool;
export const EnvHttpProxyAgent = load(
  "undici/lib/dispatcher/env-http-proxy-agent.js",
) as typeof undici.EnvHttpProxyAgent;
export const buildConnector = load("undici/lib/core/connect.js") as typeof undici.buildConnector;
export const errors = load("undici/lib/core/errors.js") as typeof undici.errors;

// As the entry point does it: `request`, `connect` and what else a dispatcher can.
Object.assign(Dispatcher.prototype, load("undici/lib/api/index.js"));
