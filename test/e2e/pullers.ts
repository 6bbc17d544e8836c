import assert from "node:assert/strict";
import { Agent } from "node:http";
import { digestOf } from "../../src/oci/digest.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import { request } from "../support/http.ts";

/** An image at a mirror. */
export interface PulledImage {
  /** `http://host:port`. */
  readonly mirror: string;
  readonly namespace: string;
  readonly repository: string;
  readonly tag: string;
}

/** Pulls a whole image; each request is sent once. @throws {Error} an answer was not whole, or not the right one. */
export async function pullOnce({ mirror, namespace, repository, tag }: PulledImage, agent?: Agent): Promise<void> {
  const get = async (path: string): Promise<Awaited<ReturnType<typeof request>>> => {
    const options = agent === undefined ? {} : { agent };
    const answer = await request(`${mirror}/v2/${repository}/${path}?ns=${namespace}`, options);
    assert.equal(answer.status, 200, `${path}: ${answer.body.toString("utf8", 0, 500)}`);
    return answer;
  };
  const { body, headers } = await get(`manifests/${tag}`);
  assert.equal(digestOf(body), headers["docker-content-digest"]);
  const { children } = parseManifest(body, String(headers["content-type"]));
  assert.notEqual(children.length, 0);
  for (const { digest } of children) assert.equal(digestOf((await get(`blobs/${digest}`)).body), digest);
}

/** Clients that pull an image again and again, over connections that they keep. */
export class Pullers implements AsyncDisposable {
  readonly failures: unknown[] = [];
  /** How many pulls were whole. */
  pulls = 0;
  #isOver = false;
  readonly #running: Promise<void>[];

  constructor(image: PulledImage, clients = 4) {
    this.#running = Array.from({ length: clients }, () => this.#pull(image));
  }

  /** Lets them end what they do. @throws {AggregateError} a pull failed, or there was none. */
  async stop(): Promise<void> {
    await this[Symbol.asyncDispose]();
    if (this.failures.length > 0 || this.pulls === 0) {
      throw new AggregateError(this.failures, `${this.failures.length} of ${this.pulls} pulls failed`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  async #pull(image: PulledImage): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    while (!this.#isOver) {
      await pullOnce(image, agent).catch((error: unknown) => this.failures.push(error));
      this.pulls++;
    }
    agent.destroy();
  }
}
