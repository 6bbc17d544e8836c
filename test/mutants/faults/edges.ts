import { type Fault, faultsOf } from "../fault.ts";

export const edges: readonly Fault[] = [
  ...faultsOf(
    "upstream/dispatcher",
    ["unit/upstream/dispatcher", "unit/upstream/settings"],
    [
      {
        name: "body-by-header-timeout",
        find: "bodyTimeout: options.idleTimeoutMs,",
        replace: "bodyTimeout: options.headerTimeoutMs,",
        breaks: "idle_timeout is how long a body may pause",
      },
      {
        name: "headers-by-idle-timeout",
        find: "headersTimeout: options.headerTimeoutMs,",
        replace: "headersTimeout: options.idleTimeoutMs,",
        breaks: "header_timeout is how long an answer may take to begin",
      },
    ],
  ),
  ...faultsOf(
    "concurrency/limiter",
    ["unit/concurrency/limiter"],
    [
      {
        name: "listener-left",
        find: 'signal.removeEventListener("abort", abort);',
        replace: "",
        breaks: "who aborts after the start takes no other's place",
      },
      {
        name: "bulk-takes-all",
        find: "slots - Math.max(1, Math.floor(slots / 4))",
        replace: "slots",
        breaks: "small requests go on beside transfers",
      },
      {
        name: "released-twice",
        find: "if (!holds.delete(held)) return;",
        replace: "holds.delete(held);",
        breaks: "a slot is given back once",
      },
    ],
  ),
  ...faultsOf(
    "config/upstream-schema",
    ["unit/config/endpoints", "unit/config/problems", "unit/config/load"],
    [
      {
        name: "deny-with-namespace",
        find: '...keys.deny.map((pattern, index) => ({ path: ["deny", index], pattern })),',
        replace: "",
        breaks: "a rule that denies nothing is refused",
      },
      {
        name: "allow-with-namespace",
        find: '...(keys.allow ?? []).map((pattern, index) => ({ path: ["allow", index], pattern })),',
        replace: "",
        breaks: "a rule that allows nothing is refused",
      },
    ],
  ),
  ...faultsOf(
    "config/interpolation",
    ["unit/config/interpolation"],
    ["username", "password", "password_file", "docker_config", "key_file", "ca_file", "client_cert", "client_key"]
      .concat(["proxy", "admin_token", "admin_token_file"])
      .map((key) => ({
        name: key.replaceAll("_", "-"),
        find: `"${key}",\n`,
        replace: "",
        breaks: `${key} may hold variables`,
      })),
  ),
];
