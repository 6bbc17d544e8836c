import { maxManifestBytes, mayBeManifest } from "../oci/manifest.ts";
import type { DoubtfulLabel } from "../upstream/upstream.ts";

/** What is known of a blob before its first byte, in bytes; `undefined` where nobody tells. */
interface Sizes {
  readonly sizeBytes: number | undefined;
  /** By the repository's manifests. */
  readonly expectedBytes: number | undefined;
}

/**
 * Whether an answer may turn out to be something else than the blob, so that readers are not to be told of it before its
 * digest is known: a manifest, or what its label says and its size does not contradict, as the page of a login.
 */
export class FillDoubt {
  readonly #mostInMemory: number;
  #mayBeManifest = false;
  #mayBeLabel = false;

  /** @param mostInMemory How many bytes can wait for the digest without a file. */
  constructor(mostInMemory: number) {
    this.#mostInMemory = mostInMemory;
  }

  /** Whether it may be something else, as far as is known. */
  get isOpen(): boolean {
    return this.#mayBeManifest || this.#mayBeLabel;
  }

  /** Whether it may be a manifest. */
  get mayBeManifest(): boolean {
    return this.#mayBeManifest;
  }

  /** Takes note of an answer's headers. */
  noteHeaders(label: DoubtfulLabel | undefined, { sizeBytes, expectedBytes }: Sizes): void {
    const leastBytes = sizeBytes ?? 0;
    this.#mayBeManifest = expectedBytes === undefined && leastBytes <= maxManifestBytes;
    this.#mayBeLabel = label !== undefined && sizeBytes !== expectedBytes && leastBytes <= this.#mostInMemory;
  }

  /** Takes note of a chunk that ends at `end`; `isFiled`: the file takes it. */
  noteBytes(chunk: Uint8Array, end: number, isFiled: boolean): void {
    const isFirst = end === chunk.length;
    this.#mayBeManifest &&= end <= (isFiled ? maxManifestBytes : this.#mostInMemory);
    this.#mayBeManifest &&= !isFirst || mayBeManifest(chunk);
    this.#mayBeLabel &&= end <= this.#mostInMemory;
  }
}
