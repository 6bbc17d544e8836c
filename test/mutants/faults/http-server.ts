import { type Fault, faultsOf } from "../fault.ts";

export const httpServer: readonly Fault[] = [
  ...faultsOf(
    "http/server",
    ["http/server", "http/patience", "http/malformed", "http/request-log", "http/admin-server"],
    [
      {
        name: "body-open-after-the-client-left",
        find: "if (response.destroyed) {\n      await stream?.close();",
        replace: "if (response.destroyed) {",
        breaks: "a body is closed also where its client left before the answer",
      },
      {
        name: "body-open-after-bad-headers",
        find: "} catch (error) {\n      await stream?.close();",
        replace: "} catch (error) {",
        breaks: "a body is closed also where its headers cannot be written",
      },
      {
        name: "body-open-after-head",
        find: "await stream?.close();\n      response.end();",
        replace: "response.end();",
        breaks: "the body that HEAD does not send is closed",
      },
      {
        name: "impatient-with-clients",
        find: "const clientIdleMs = 5 * 60_000;",
        replace: "const clientIdleMs = 5 * 60;",
        breaks: "a client may take nothing for five minutes",
      },
      {
        name: "impatient-with-bodies",
        find: "const bodyMs = 30_000;",
        replace: "const bodyMs = 30;",
        breaks: "a request's body may take half a minute",
      },
      {
        name: "body-waited-for-ever",
        find: "AbortSignal.any([late, this.#stop.signal])",
        replace: "this.#stop.signal",
        breaks: "a request's body that does not come is refused",
      },
      {
        name: "stopping-waits-for-bodies",
        find: "AbortSignal.any([late, this.#stop.signal])",
        replace: "late",
        breaks: "stopping does not wait for a request's body",
      },
      {
        name: "unread-body-kept-alive",
        find: "this.#unread.add(request);\n      if (late",
        replace: "if (late",
        breaks: "the rest of a body is not taken for a request",
      },
      {
        name: "large-body-read",
        find: "if (sizeBytes > maxBytes) break;",
        replace: "if (sizeBytes > maxBytes * 1e6) break;",
        breaks: "a request's body takes bounded memory",
      },
      {
        name: "keep-alive-promised-while-draining",
        find: "const isLast = this.#isLeaving || this.#isStopping || this.#unread",
        replace: "const isLast = this.#isLeaving || this.#unread",
        breaks: "answers say that their connection ends when the process stops",
      },
      {
        name: "deadline-ignored",
        find: 'deadline.addEventListener("abort", cut, { once: true });',
        replace: "",
        breaks: "answers are cut at the deadline",
      },
      {
        name: "past-deadline-ignored",
        find: "if (deadline.aborted) cut();",
        replace: "",
        breaks: "answers are cut at once where the deadline has passed",
      },
      {
        name: "in-flight-for-ever",
        find: "metrics.requestsInFlight.dec();",
        replace: "",
        breaks: "requests that have ended are not in flight",
      },
      {
        name: "admin-everywhere",
        find: 'if (admin === undefined) return errorReply(new OciError("NOT_FOUND", noAdministration));',
        replace: 'if (admin === undefined) return errorReply(new OciError("NOT_FOUND"));',
        breaks: "who asks for the administration where it is not is told where it is",
      },
      {
        name: "probes-logged",
        find: "if (quietEndpoints.has(facts.endpoint) && status < 400) return;",
        replace: "",
        breaks: "probes do not fill the log",
      },
      {
        name: "failing-probes-not-logged",
        find: "if (quietEndpoints.has(facts.endpoint) && status < 400) return;",
        replace: "if (quietEndpoints.has(facts.endpoint)) return;",
        breaks: "a probe that fails is logged",
      },
      {
        name: "any-method-a-label",
        find: 'knownMethods.has(request.method ?? "") ? (request.method ?? "") : "other"',
        replace: 'request.method ?? ""',
        breaks: "clients cannot make up labels of metrics",
      },
      {
        name: "faults-are-information",
        find: 'status >= 500 || isFault(facts.error) ? "warn" : "info"',
        replace: '"info"',
        breaks: "what fails is logged as a warning",
      },
      {
        name: "bytes-not-counted",
        find: "if (sentBytes > 0) metrics.responseBytes.inc({ endpoint: facts.endpoint }, sentBytes);",
        replace: "",
        breaks: "the bytes that were sent are counted",
      },
      {
        name: "stale-is-a-hit",
        find: 'if (cache.staleReason !== undefined) return "stale";',
        replace: "",
        breaks: "stale answers are counted as such",
      },
    ],
  ),
  ...faultsOf(
    "http/unsent",
    ["http/unsent"],
    [
      {
        name: "shared-body-forgotten-with-the-first",
        find: "if (responses.size === 0 && this.#waiting",
        replace: "if (this.#waiting",
        breaks: "a body that another client still waits for takes room",
      },
    ],
  ),
  ...faultsOf(
    "http/send",
    ["http/send"],
    [
      {
        name: "no-back-pressure",
        find: "await write(chunk);\n      sent",
        replace: "void write(chunk).catch(() => undefined);\n      sent",
        breaks: "a slow client holds one chunk",
      },
      {
        name: "cut-body-looks-complete",
        find: "if (!delimited) reset(response.socket);\n    response.destroy();",
        replace: "response.end();",
        breaks: "a body that ends early does not look complete",
      },
      {
        name: "undelimited-not-reset",
        find: "if (!delimited) reset(response.socket);",
        replace: "",
        breaks: "a body without length that ends early does not look complete",
      },
      {
        name: "stream-left-open",
        find: "await body.close();",
        replace: "",
        breaks: "a stream is closed in every case",
      },
      {
        name: "stalled-client-kept",
        find: "if (refuse !== undefined) leave(",
        replace: "if (idleMs < 0) leave(",
        breaks: "a client that takes nothing is cut",
      },
      {
        name: "slow-upstream-cuts-the-client",
        find: "if (refuse !== undefined) leave(",
        replace: "leave(",
        breaks: "a client that waits for a slow upstream is not cut",
      },
      {
        name: "gone-client-unnoticed",
        find: 'response.once("close", onClose);',
        replace: "",
        breaks: "what a client that left waited for is let go",
      },
      {
        name: "gone-before-unnoticed",
        find: "if (response.destroyed) onClose();",
        replace: "",
        breaks: "a client that left before its body begins is noticed",
      },
      {
        name: "sent-bytes-wrong",
        find: "sent += chunk.length;",
        replace: "sent = chunk.length;",
        breaks: "the bytes that were sent are counted",
      },
    ],
  ),
  ...faultsOf(
    "http/probes",
    ["http/probes"],
    [
      {
        name: "metrics-everywhere",
        find: "if (!options.admin) return undefined;",
        replace: "",
        breaks: "metrics are served only where they may be",
      },
      {
        name: "details-everywhere",
        find: "if (!verbose || !admin) return",
        replace: "if (!verbose) return",
        breaks: "details are told only where they may be",
      },
      {
        name: "always-ready",
        find: "reasons.length === 0 ? 200 : 503",
        replace: "200",
        breaks: "a process that stops is not ready",
      },
    ],
  ),
  ...faultsOf(
    "app/app",
    ["flow/shutdown"],
    [
      {
        name: "no-delay",
        find: "if (config.shutdownDelayMs > 0) await clock.wait(",
        replace: "if (config.shutdownDelayMs > 0) void clock.wait(",
        breaks: "for a while after it is asked to stop it answers as before",
      },
      {
        name: "keep-alive-in-the-delay",
        find: "for (const server of servers) server.leave();",
        replace: "",
        breaks: "answers in this time end their connections",
      },
    ],
  ),
  ...faultsOf(
    "http/storage-state",
    ["http/storage-state"],
    [
      {
        name: "a-try-for-each",
        find: "running ??= tryOnce(tryToWrite).finally(() => (running = undefined));",
        replace: "running = tryOnce(tryToWrite);",
        breaks: "a disk that hangs takes one thread",
      },
      {
        name: "asked-once",
        find: ".finally(() => (running = undefined))",
        replace: "",
        breaks: "the state is that of now",
      },
      {
        name: "hangs-with-the-disk",
        find: "await Promise.race([running, late.promise])",
        replace: "await running",
        breaks: "a disk that hangs does not hang the probe",
      },
      {
        name: "timer-left",
        find: "clearTimeout(timer);",
        replace: "",
        breaks: "a probe leaves no timer",
      },
    ],
  ),
  ...faultsOf(
    "http/connections",
    ["http/connections", "http/gone-clients", "http/patience", "http/malformed", "http/server"],
    [
      {
        name: "drained-connections-kept",
        find: "this.#socket.destroySoon();",
        replace: "",
        breaks: "a connection ends with its last answer when the process stops",
      },
      {
        name: "short-keep-alive",
        find: "const keepAliveMs = 75_000;",
        replace: "const keepAliveMs = 75;",
        breaks: "clients close idle connections first",
      },
      {
        name: "malformed-is-silence",
        find: 'if (error.code === "ECONNRESET") socket.destroy();',
        replace: "if (error.code !== null) socket.destroy();",
        breaks: "what is not HTTP gets an answer",
      },
      {
        name: "long-header-is-400",
        find: 'case "HPE_HEADER_OVERFLOW":',
        replace: 'case "HPE_NONE":',
        breaks: "a header that is too large is told as that",
      },
      {
        name: "late-header-is-400",
        find: 'case "ERR_HTTP_REQUEST_TIMEOUT":',
        replace: 'case "ERR_NONE":',
        breaks: "a header that does not come is told as that",
      },
      {
        name: "all-at-once",
        find: "if (!this.#isAnswering) {",
        replace: "if (this.#last !== undefined) {",
        breaks: "the requests of a connection are answered one after the other",
      },
      {
        name: "reads-on",
        find: "this.#crowd.connections.add(this);\n    this.#hold();",
        replace: "this.#crowd.connections.add(this);",
        breaks: "while requests of a connection wait no more are read",
      },
      {
        name: "never-reads-on",
        find: "this.#socket.resume();",
        replace: "",
        breaks: "a connection is read on when nothing waits",
      },
      {
        name: "waiting-without-bound",
        find: "if (this.#crowd.waiting >= maxWaiting) this.#cutLongest();",
        replace: "",
        breaks: "the requests that wait take bounded memory",
      },
      {
        name: "refused-in-the-middle",
        find: "if (this.#isAnswering) this.#hold();\n    else this.#end(answer);",
        replace: "this.#end(answer);",
        breaks: "what cannot be read is refused after the answers to what came before",
      },
      {
        name: "refused-inside-a-body",
        find: "if (this.#last?.complete === false) {",
        replace: "if (this.#last === null) {",
        breaks: "what cannot be read of a body gets no second answer",
      },
      {
        name: "refused-lingers",
        find: "const timer = setTimeout(() => socket.destroy(), lingerMs);",
        replace: "const timer = setTimeout(() => undefined, lingerMs);",
        breaks: "a client that was refused does not keep its connection",
      },
      {
        name: "gone-client-kept",
        find: "if (socket.writableLength === 0 && socket.bytesWritten === written) socket.destroy();",
        replace: "",
        breaks: "a client that is gone does not keep its connection",
      },
    ],
  ),
  ...faultsOf(
    "http/listening",
    ["http/server"],
    [
      {
        name: "socket-of-another-taken",
        find: "if (!(await lstat(path)).isSocket()) return false;",
        replace: "",
        breaks: "a file at the socket's path is not removed",
      },
      {
        name: "live-socket-taken",
        find: 'await once(socket, "connect");\n    return false;',
        replace: 'await once(socket, "connect");\n    return true;',
        breaks: "the socket of a process that listens is not removed",
      },
      {
        name: "dead-socket-kept",
        find: 'return codeOf(error) === "ECONNREFUSED";',
        replace: "return false;",
        breaks: "a killed process's socket does not keep the next from starting",
      },
    ],
  ),
  ...faultsOf(
    "http/body-garbage",
    ["unit/http/body-garbage"],
    [
      {
        name: "whole-heap",
        find: 'gc({ type: "minor" });',
        replace: 'gc({ type: "major" } as never);',
        breaks: "the buffers of a body are cleared away without a collection of the whole heap",
      },
    ],
  ),
];
