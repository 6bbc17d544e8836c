import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";

/** One request of a load. */
export interface Ask {
  readonly path: string;
  readonly accept?: string;
}

/** What a load has measured, in milliseconds. */
export interface Latencies {
  /** From when each request was due to the end of its answer. */
  readonly ms: readonly number[];
  /** How late the client itself was to send each: what of the above the server has no part in. */
  readonly lateMs: readonly number[];
}

const connections = 64;

/**
 * Asks at a fixed rate, on kept connections, whether or not earlier answers have come: a server that pauses is asked all
 * the same, and each request that had to wait counts. Ends when `until` resolves.
 *
 * @throws where an answer is not 200.
 */
export async function openLoop(
  origin: string,
  next: () => Ask,
  perSecond: number,
  until: Promise<unknown>,
): Promise<Latencies> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const ms: number[] = [];
  const lateMs: number[] = [];
  const running = new Set<Promise<void>>();
  const ending = new AbortController();
  let failure: Error | undefined;
  const end = (): void => ending.abort();
  void until.then(end, end);
  const began = performance.now();
  for (let sent = 0; !ending.signal.aborted && failure === undefined; await delay(1)) {
    for (; began + (sent * 1000) / perSecond <= performance.now(); sent++) {
      const due = began + (sent * 1000) / perSecond;
      lateMs.push(performance.now() - due);
      const asked = ask(agent, origin, next())
        .then(() => void ms.push(performance.now() - due))
        .catch((error: unknown) => {
          failure ??= error instanceof Error ? error : new Error(String(error));
        })
        .finally(() => running.delete(asked));
      running.add(asked);
    }
  }
  await Promise.all(running);
  agent.destroy();
  if (failure !== undefined) throw failure;
  await until;
  return { ms, lateMs };
}

function ask(agent: Agent, origin: string, { path, accept }: Ask): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = accept === undefined ? {} : { accept };
    const sent = request(`${origin}${path}`, { agent, headers, timeout: 60_000 }, (response) => {
      response.resume();
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`${path} was answered ${response.statusCode}`));
      });
    });
    sent.on("timeout", () => sent.destroy(new Error(`${path}: no answer`)));
    sent.on("error", reject);
    sent.end();
  });
}
