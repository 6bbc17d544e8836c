// The parts of undici that make connections, by their files: its entry point loads `fetch`, WebSockets, caches and mocks
// as well, which take 11 MiB of every mirror.
import api from "undici/lib/api/index.js";
import buildConnector from "undici/lib/core/connect.js";
import errors from "undici/lib/core/errors.js";
import Dispatcher from "undici/lib/dispatcher/dispatcher.js";
import EnvHttpProxyAgent from "undici/lib/dispatcher/env-http-proxy-agent.js";
import Pool from "undici/lib/dispatcher/pool.js";

// As the entry point does it: `request`, `connect` and what else a dispatcher can.
Object.assign(Dispatcher.prototype, api);

export { buildConnector, Dispatcher, EnvHttpProxyAgent, errors, Pool };
