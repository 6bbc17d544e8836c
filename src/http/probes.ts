import type { Metrics } from "../observe/metrics.ts";
import { jsonReply, type Reply } from "./reply.ts";

/** What the probes tell. */
export interface Health {
  /**
   * Why the process should get no new requests now; empty when it should. An upstream that fails is no reason, nor is a
   * storage that does: pulls go through without it.
   */
  reasonsAgainst(): readonly string[];
  /** More, for people. Rejects never, and answers soon also when a disk hangs. */
  details(): Promise<Record<string, unknown>>;
}

/** Which of them a listener serves. */
export interface ProbeOptions {
  readonly health: Health;
  /** Whether `/metrics` and the probes' details are served here. */
  readonly admin: boolean;
  readonly metrics: Metrics;
}

/** Answers `/`, `/healthz`, `/readyz` and `/metrics`; `undefined` for every other path. */
export async function probe(
  target: string,
  options: ProbeOptions,
): Promise<{ endpoint: string; reply: Reply } | undefined> {
  const [path = "", query = ""] = target.split("?", 2);
  switch (path) {
    case "/":
      return { endpoint: "root", reply: text(200, "") };
    case "/healthz":
      return { endpoint: "healthz", reply: text(200, "ok\n") };
    case "/readyz":
      return { endpoint: "readyz", reply: await ready(options, new URLSearchParams(query).has("verbose")) };
    case "/metrics":
      if (!options.admin) return undefined;
      return { endpoint: "metrics", reply: text(200, await options.metrics.render(), options.metrics.contentType) };
    default:
      return undefined;
  }
}

async function ready({ health, admin }: ProbeOptions, verbose: boolean): Promise<Reply> {
  const reasons = health.reasonsAgainst();
  const status = reasons.length === 0 ? 200 : 503;
  if (!verbose || !admin) return text(status, status === 200 ? "ready\n" : `${reasons.join("\n")}\n`);
  return jsonReply(status, "application/json", { ready: status === 200, reasons, ...(await health.details()) });
}

function text(status: number, body: string, mediaType = "text/plain; charset=utf-8"): Reply {
  const bytes = Buffer.from(body);
  return { status, headers: { "Content-Type": mediaType, "Content-Length": bytes.length }, body: bytes };
}
