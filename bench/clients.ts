import { execFile } from "node:child_process";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { Image } from "./content.ts";
import { manifestMediaType } from "./content.ts";
import { programPath } from "./programs.ts";

const run = promisify(execFile);
const limitSeconds = 180;
const accept = `Accept: ${manifestMediaType}`;

/**
 * Downloads `url` into nothing with curl; resolves to the seconds that curl counted, its own start not included.
 *
 * @param mostSeconds How long that may take.
 */
export async function download(url: string, sizeBytes: number, mostSeconds = limitSeconds): Promise<number> {
  const args = ["--output", "/dev/null", "--write-out", "%{size_download} %{time_total}", url];
  const { stdout } = await curl(args, mostSeconds);
  const [bytes, seconds] = stdout.split(" ").map(Number);
  if (bytes !== sizeBytes || seconds === undefined) throw new Error(`${url}: ${bytes} bytes instead of ${sizeBytes}`);
  return seconds;
}

/** Pulls an image as a container engine does: the manifest, then the blobs, three at a time. Resolves to seconds. */
export async function pullImage(origin: string, image: Image): Promise<number> {
  const began = performance.now();
  await curl(["--header", accept, "--output", "/dev/null", `${origin}${image.manifestPath}`]);
  const blobs = image.blobs.flatMap((blob) => ["--output", "/dev/null", `${origin}${blob.path}`]);
  const parallel = ["--no-progress-meter", "--parallel", "--parallel-immediate", "--parallel-max", "3"];
  const { stdout } = await curl([...parallel, "--write-out", "%{size_download}\n", ...blobs]);
  const seconds = (performance.now() - began) / 1000;
  const bytes = stdout
    .trim()
    .split("\n")
    .reduce((sum, line) => sum + Number(line), 0);
  const wanted = image.blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0);
  if (bytes !== wanted) throw new Error(`${origin}: ${bytes} bytes of blobs instead of ${wanted}`);
  return seconds;
}

/** What wrk has measured. */
export interface RequestRate {
  readonly perSecond: number;
  readonly p99Ms: number;
}

/** Asks for `url` again and again on kept connections, with wrk. */
export async function hammer(url: string, connections: number, seconds: number): Promise<RequestRate> {
  const args = ["--threads", "1", "--connections", `${connections}`, "--duration", `${seconds}s`, "--latency"];
  const { stdout } = await run(programPath("wrk"), [...args, "--header", accept, url], {
    timeout: limitSeconds * 1000,
  });
  const perSecond = /^Requests\/sec:\s+([\d.]+)$/m.exec(stdout)?.[1];
  const [, p99, unit] = /^\s+99%\s+([\d.]+)(us|ms|s)$/m.exec(stdout) ?? [];
  const failed = /Non-2xx or 3xx responses|Socket errors: .*[1-9]/.exec(stdout);
  if (perSecond === undefined || p99 === undefined || failed !== null) throw new Error(`wrk on ${url}:\n${stdout}`);
  return { perSecond: Number(perSecond), p99Ms: Number(p99) * (unit === "us" ? 0.001 : unit === "ms" ? 1 : 1000) };
}

/**
 * The time to the first byte of a blob's or a manifest's body, in milliseconds, on a new connection. The body is read to
 * its end.
 */
export function firstByteMs(url: string, sizeBytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    let first: number | undefined;
    let received = 0;
    const headers = { Accept: manifestMediaType };
    const sent = request(url, { agent: false, headers, timeout: limitSeconds * 1000 }, (response) => {
      response.on("data", (chunk: Buffer) => {
        first ??= performance.now() - began;
        received += chunk.length;
      });
      response.on("error", reject);
      response.on("end", () => {
        if (first === undefined || received !== sizeBytes) reject(new Error(`${url}: ${received} bytes`));
        else resolve(first);
      });
    });
    sent.on("timeout", () => sent.destroy(new Error(`${url}: no answer`)));
    sent.on("error", reject);
    sent.end();
  });
}

/**
 * Many clients that read `url` slowly for some seconds and then leave.
 *
 * @throws where one of them was refused or cut off.
 */
export async function readSlowly(
  url: string,
  options: { readonly clients: number; readonly bytesPerSecond: number; readonly seconds: number },
): Promise<void> {
  const clients = Array.from({ length: options.clients }, () => new SlowClient(new URL(url)));
  const began = performance.now();
  try {
    for (let elapsed = 0; elapsed < options.seconds; elapsed = (performance.now() - began) / 1000) {
      const allowed = elapsed * options.bytesPerSecond;
      for (const client of clients) client.allow(allowed);
      await delay(50);
    }
    const failure = clients.map((client) => client.failure).find((error) => error !== undefined);
    if (failure !== undefined) throw failure;
  } finally {
    for (const client of clients) client.leave();
  }
}

class SlowClient {
  readonly #socket: Socket;
  #received = 0;
  #failure: Error | undefined;

  constructor(url: URL) {
    this.#socket = connect({ host: url.hostname, port: Number(url.port) });
    this.#socket.write(`GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`);
    this.#socket.on("data", (chunk: Buffer) => {
      if (this.#received === 0 && !chunk.toString("latin1", 0, 12).endsWith(" 200")) {
        this.#failure = new Error(`a slow client was answered ${chunk.toString("latin1", 0, 40)}`);
      }
      this.#received += chunk.length;
      this.#socket.pause();
    });
    this.#socket.on("error", (error) => {
      this.#failure = error;
    });
    this.#socket.on("end", () => {
      this.#failure = new Error(`a slow client was cut off after ${this.#received} bytes`);
    });
  }

  /** Why it was not served; `undefined` where it was. */
  get failure(): Error | undefined {
    return this.#failure ?? (this.#received === 0 ? new Error("a slow client got nothing") : undefined);
  }

  /** Lets it read on until it has about `bytes`. */
  allow(bytes: number): void {
    if (this.#received <= bytes) this.#socket.resume();
  }

  leave(): void {
    this.#socket.destroy();
  }
}

function curl(args: readonly string[], mostSeconds = limitSeconds): Promise<{ stdout: string }> {
  const common = ["--silent", "--show-error", "--fail", "--max-time", `${mostSeconds}`];
  return run(programPath("curl"), [...common, ...args], { timeout: (mostSeconds + 10) * 1000 });
}
