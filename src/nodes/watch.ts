import { once } from "node:events";
import type * as http from "node:http";
import { createRequire } from "node:module";
import type { Clock } from "../concurrency/clock.ts";
import type { Logger } from "../observe/log.ts";
import { probe } from "./probe.ts";
import type { FileOutcome } from "./own-files.ts";
import { reconcile } from "./reconcile.ts";
import { Relay } from "./relay.ts";
import type { Endpoint, NodeSettings, Wanted } from "./settings.ts";

// An `import` reads all that a built-in module exports, which takes memory (see http/connections).
const { createServer } = createRequire(import.meta.url)("node:http") as typeof http;

/** What a watch keeps. */
export interface WatchOptions {
  readonly settings: NodeSettings;
  /** `undefined` keeps all of this owner's away. */
  readonly wanted: Wanted | undefined;
  readonly relay: { readonly listen: Endpoint; readonly target: Endpoint } | undefined;
  /** Where `/healthz` and `/readyz` are. */
  readonly probeListen: Endpoint | undefined;
  readonly intervalMs: number;
}

/** What it works with. */
export interface WatchTools {
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  readonly clock: Clock;
  /** Ends the watch. */
  readonly stop: AbortSignal;
}

/** How long the mirror may take to answer: a runtime would wait for it, too. */
const answerMs = 3_000;
/** So many checks without an answer, one after the other, and the runtimes are no longer told of the mirror. */
const maxFailures = 3;
/** In the end files are taken back again where another process was at them. */
const maxAttempts = 3;
/** How long transfers may go on after the end. A pod has 30 s by default. */
const drainMs = 20_000;

/**
 * Keeps the files of a node's runtimes as they are wanted while the mirror answers, and without it while it does not.
 * In the end it takes back what it has written, then lets the relay's transfers end.
 *
 * @returns Whether nothing of this owner is left.
 * @throws Where it cannot listen; nothing is written then.
 */
export async function watch(options: WatchOptions, tools: WatchTools): Promise<boolean> {
  await using stack = new AsyncDisposableStack();
  const watching = new Watch(options, tools);
  const { probeListen, relay } = options;
  try {
    if (probeListen !== undefined) stack.use(await serveProbes(probeListen, watching));
    if (relay !== undefined) {
      const target = formatEndpoint(relay.target);
      const opened = await Relay.open(relay.listen, relay.target, ({ message }) => {
        watching.complain({ target, why: message }, "relay failed");
      });
      stack.defer(() => opened.close(drainMs));
    }
  } catch (error) {
    await watching.withdrawUnlessAnswered();
    throw error;
  }
  return await watching.run();
}

/** One watch's state: how often the mirror did not answer, and what was said last. */
class Watch {
  /** Why the files are not as they should be; `undefined` where they are. */
  unready: string | undefined = "nothing was done yet";
  readonly #options: WatchOptions;
  readonly #tools: WatchTools;
  #failures = 0;
  /** What was logged of the files at the last time, and of the mirror since it answered. */
  #said: ReadonlySet<string> = new Set();
  readonly #complaints = new Set<string>();

  constructor(options: WatchOptions, tools: WatchTools) {
    this.#options = options;
    this.#tools = tools;
  }

  async run(): Promise<boolean> {
    const { stop, clock } = this.#tools;
    while (!stop.aborted) {
      try {
        await this.#check();
      } catch (error) {
        this.unready = (error as Error).message;
        this.#tools.log.error({ err: error }, "the node's files could not be looked at");
      }
      await clock.wait(this.#options.intervalMs, stop).catch(() => undefined);
    }
    this.unready = "stopping";
    for (let attempt = 1; attempt < maxAttempts; attempt += 1) {
      if (await this.#reconcile(undefined).catch(() => false)) return true;
    }
    return this.#reconcile(undefined);
  }

  /** Logs what is wrong with the mirror, once until it answers: there may be hundreds a second. */
  complain(fields: object, message: string): void {
    const line = JSON.stringify([message, fields]);
    if (!this.#complaints.has(line)) this.#tools.log.warn(fields, message);
    this.#complaints.add(line);
  }

  /** What an earlier process has written must not lead to a stranger. */
  async withdrawUnlessAnswered(): Promise<void> {
    const { wanted } = this.#options;
    if (wanted === undefined || (await this.#ask(wanted)) === undefined) return;
    await this.#reconcile(undefined);
  }

  async #check(): Promise<void> {
    const { wanted } = this.#options;
    const why = wanted === undefined ? undefined : await this.#ask(wanted);
    if (this.#tools.stop.aborted) return;
    if (why === undefined) {
      if (this.#failures >= maxFailures) this.#tools.log.info({ mirror: wanted?.mirror }, "the mirror answers again");
      this.#failures = 0;
      this.#complaints.clear();
      await this.#reconcile(wanted);
      return;
    }
    this.#failures += 1;
    this.complain({ mirror: wanted?.mirror, why }, "the mirror does not answer");
    if (this.#failures >= maxFailures) await this.#reconcile(undefined);
    this.unready = `${wanted?.mirror} does not answer: ${why}`;
  }

  #ask({ mirror }: Wanted): Promise<string | undefined> {
    return probe(mirror, answerMs, this.#tools.stop);
  }

  /** Returns whether all is as it should be. */
  async #reconcile(wanted: Wanted | undefined): Promise<boolean> {
    const { outcomes, notes } = await reconcile(this.#options.settings, wanted);
    const lines = new Set<string>();
    const say = (level: "info" | "warn", fields: object, message: string): void => {
      const line = JSON.stringify([message, fields]);
      lines.add(line);
      if (!this.#said.has(line)) this.#tools.log[level](fields, message);
    };
    for (const { file, state, why } of outcomes) {
      if (state === "written" || state === "removed") this.#tools.log.info({ file }, state);
      else if (state !== "kept") say(state === "left" ? "warn" : "info", { file, why }, state);
    }
    for (const note of notes) say("info", { why: note }, "maybe not active");
    this.#said = lines;
    const left = outcomes.filter(({ state }) => state === "left");
    this.unready = left.length === 0 ? undefined : left.map(describe).join("; ");
    return left.length === 0;
  }
}

async function serveProbes(listen: Endpoint, watching: Watch): Promise<AsyncDisposable> {
  const server = createServer((request, response) => {
    const path = request.url?.replace(/\?.*/s, "");
    const why = path === "/readyz" ? watching.unready : undefined;
    const isKnown = path === "/readyz" || path === "/healthz";
    response.writeHead(isKnown ? (why === undefined ? 200 : 503) : 404, {
      "Content-Type": "text/plain; charset=utf-8",
    });
    response.end(isKnown ? `${why ?? "ok"}\n` : "there are /healthz and /readyz\n");
  });
  server.listen(listen);
  await once(server, "listening");
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function describe({ file, why }: FileOutcome): string {
  return `${file}: ${why}`;
}

/** `host:port`, with brackets around an IPv6 address. */
function formatEndpoint({ host, port }: Endpoint): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
