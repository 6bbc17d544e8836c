import { type Fault, faultsOf } from "../fault.ts";

export const edges: readonly Fault[] = [
  ...faultsOf(
    "upstream/dispatcher",
    ["unit/upstream/dispatcher", "unit/upstream/settings"],
    [
      {
        name: "body-by-header-timeout",
        find: "bodyTimeout: options.timeouts.idleTimeoutMs,",
        replace: "bodyTimeout: options.timeouts.headerTimeoutMs,",
        breaks: "idle_timeout is how long a body may pause",
      },
      {
        name: "headers-by-idle-timeout",
        find: "headersTimeout: options.timeouts.headerTimeoutMs,",
        replace: "headersTimeout: options.timeouts.idleTimeoutMs,",
        breaks: "header_timeout is how long an answer may take to begin",
      },
    ],
  ),
  ...faultsOf(
    "concurrency/for-each-of",
    ["unit/concurrency/for-each-of"],
    [
      {
        name: "failure-lost",
        find: "void failures.push(error)",
        replace: "void error",
        breaks: "what fails is told, also while the next item is waited for",
      },
      {
        name: "goes-on",
        find: "if (failures.length > 0) break;",
        replace: "",
        breaks: "nothing more is begun when something has failed",
      },
      {
        name: "failure-not-told",
        find: "if (failures.length > 0) throw failures[0];",
        replace: "",
        breaks: "what fails is told",
      },
      {
        name: "left-running",
        find: "await Promise.all(running);",
        replace: "",
        breaks: "nothing is being done any more when it is over",
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
        find: "if (!this.#holds.delete(held)) return;",
        replace: "this.#holds.delete(held);",
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
        find: '...values.deny.map((rule, index) => ({ path: ["deny", index], text: rule.text })),',
        replace: "",
        breaks: "a rule that denies nothing is refused",
      },
      {
        name: "allow-with-namespace",
        find: '...(values.allow ?? []).map((rule, index) => ({ path: ["allow", index], text: rule.text })),',
        replace: "",
        breaks: "a rule that allows nothing is refused",
      },
    ],
  ),
  ...faultsOf(
    "config/fields",
    ["unit/config/interpolation"],
    [
      {
        name: "paths-without-variables",
        find: "show: escapeReferences, hasVariables: true",
        replace: "show: escapeReferences",
        breaks: "paths may hold variables",
      },
      {
        name: "secrets-without-variables",
        find: "isSecret: true, hasVariables: true",
        replace: "isSecret: true",
        breaks: "user names, passwords and the token may hold variables",
      },
    ],
  ),
  ...faultsOf(
    "config/setting",
    ["unit/config/interpolation"],
    [
      {
        name: "variables-at-the-top-alone",
        find: ", ...keysWithVariables(inner)]",
        replace: "]",
        breaks: "the keys of upstreams may hold variables",
      },
    ],
  ),
  ...faultsOf(
    "config/endpoint-schema",
    ["unit/config/interpolation"],
    [
      {
        name: "proxy-without-variables",
        find: "  hasVariables: true,\n",
        replace: "",
        breaks: "proxy may hold variables",
      },
    ],
  ),
];
