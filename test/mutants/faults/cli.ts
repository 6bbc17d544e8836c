import { type Fault, faultsOf } from "../fault.ts";

export const cli: readonly Fault[] = [
  ...faultsOf(
    "cli/commands/health",
    ["unit/cli/health"],
    [
      {
        name: "any-answer-is-ready",
        find: "if (status !== 200) throw",
        replace: "if (status > 599) throw",
        breaks: "a mirror that says it is not ready is not healthy",
      },
      {
        name: "alive-is-ready",
        find: 'path: "/readyz"',
        replace: 'path: "/healthz"',
        breaks: "it is asked whether requests are taken, not whether the process runs",
      },
      {
        name: "any-free-port",
        find: 'if (listen.kind === "tcp" && listen.port === 0) {',
        replace: 'if (listen.kind === "tcp" && listen.port < 0) {',
        breaks: "where the port is any free one it is said that nobody knows it",
      },
      {
        name: "socket-is-a-port",
        find: 'address.kind === "unix" ? { socketPath: address.path }',
        replace: 'address.kind === "unix" ? { host: address.path }',
        breaks: "one that listens on a socket is asked there",
      },
    ],
  ),
];
