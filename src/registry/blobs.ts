import type { Digest } from "../oci/digest.ts";
import { algorithmOf } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import { type OpenObject, StoreError } from "../store/object-store.ts";
import type { Link } from "./content.ts";
import type { Fill } from "./fill.ts";
import { holdBack } from "./hold-back.ts";
import type { RepositoryId } from "./layout.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { Answer, BlobContent } from "./registry.ts";
import { SingleFlight } from "./single-flight.ts";

/** What an upstream says of a blob that it has. */
interface Confirmed {
  readonly sizeBytes: number | undefined;
}

/**
 * A mirror's blobs. A stored blob is served to a repository that is known to contain it (its *link*); to another one
 * only after its upstream has confirmed it, or, where the upstream is a stranger (`trusted` is false), after it has
 * sent the bytes. What is not stored is filled.
 */
export class Blobs {
  readonly #tools: MirrorTools;
  readonly #stats = new SingleFlight<Confirmed | undefined>();
  readonly #checks = new SingleFlight<void>();

  constructor(tools: MirrorTools) {
    this.#tools = tools;
  }

  /** A blob's size; see `PullRegistry.statBlob`. */
  async stat(repository: Repository, digest: Digest): Promise<Answer<number | undefined> | undefined> {
    const { content, fills } = this.#tools;
    const id = this.#id(repository);
    const link = await content.link(id, digest);
    const stored = link && (await content.statBlob(digest));
    if (stored !== undefined) return { value: stored.sizeBytes, cache: { hit: true } };
    const fill = fills.find(id, digest, link !== undefined);
    if (fill !== undefined && (await fill.opened) === "streaming") {
      return { value: fill.sizeBytes, cache: { hit: false, forward: "uri-miss", collapsed: true } };
    }
    const { answer, joined } = this.#ask(id, digest, link);
    const found = await answer;
    return found && { value: found.sizeBytes, cache: { hit: false, forward: "uri-miss", collapsed: joined } };
  }

  /** A blob that is ready to be read; see `PullRegistry.openBlob`. */
  async open(repository: Repository, digest: Digest): Promise<Answer<BlobContent> | undefined> {
    const id = this.#id(repository);
    const stored = await this.#openStored(id, digest);
    if (stored !== undefined) return { value: stored, cache: { hit: true } };
    const link = await this.#tools.content.link(id, digest);
    const confirmed = await this.#confirm(id, digest, link);
    if (confirmed === "absent") return undefined;
    if (confirmed !== undefined) return { value: confirmed, cache: { hit: true } };
    const linked = link !== undefined;
    const { fill, joined } = this.#tools.fills.join(
      {
        id,
        digest,
        upstream: this.#tools.upstream,
        expectedBytes: link?.sizeBytes,
        mayReuse: linked,
        retries: this.#tools.retries,
      },
      linked,
    );
    // In the same tick: a reader that is there before the first byte can miss none.
    return this.#read(id, digest, fill, joined);
  }

  async #read(id: RepositoryId, digest: Digest, fill: Fill, joined: boolean): Promise<Answer<BlobContent> | undefined> {
    const reader = fill.join();
    try {
      const opened = await fill.opened;
      if (opened === "streaming") {
        return { value: reader, cache: { hit: false, forward: "uri-miss", stored: true, collapsed: joined } };
      }
      await reader.close();
      if (opened === "absent") return undefined;
    } catch (error) {
      await reader.close();
      throw error;
    }
    const stored = await this.#openStored(id, digest);
    if (stored === undefined) throw new StoreError("the blob was removed while it was being opened", undefined);
    return { value: stored, cache: { hit: true } };
  }

  /** A stored blob that this repository is known to contain. */
  async #openStored(id: RepositoryId, digest: Digest): Promise<BlobContent | undefined> {
    const { content } = this.#tools;
    if ((await content.link(id, digest)) === undefined) return undefined;
    const object = await content.openBlob(digest);
    return object && this.#content(object, digest);
  }

  /** A stored blob that the upstream, asked now, says this repository contains; `undefined` where none is stored. */
  async #confirm(
    id: RepositoryId,
    digest: Digest,
    link: Link | undefined,
  ): Promise<BlobContent | "absent" | undefined> {
    const { content, trusted, fills } = this.#tools;
    if (link !== undefined || !trusted || fills.find(id, digest, false) !== undefined) return undefined;
    if ((await content.statBlob(digest)) === undefined) return undefined;
    if ((await this.#ask(id, digest, link).answer) === undefined) return "absent";
    return this.#openStored(id, digest);
  }

  /** Asks the upstream for a blob's size; its answer makes the link. */
  #ask(
    id: RepositoryId,
    digest: Digest,
    link: Link | undefined,
  ): { answer: Promise<Confirmed | undefined>; joined: boolean } {
    const { upstream, content, background, signal, trusted } = this.#tools;
    return this.#stats.run(`${id.repository}@${digest}`, async () => {
      const found = await upstream.statBlob(id.repository, digest, signal);
      if (found !== undefined && trusted && link === undefined) {
        const sizeBytes = found.sizeBytes ?? (await content.statBlob(digest))?.sizeBytes;
        if (sizeBytes !== undefined) {
          background.run(() => content.addLink(id, digest, { mediaType: "application/octet-stream", sizeBytes }));
        }
      }
      return found;
    });
  }

  #content(object: OpenObject, digest: Digest): BlobContent {
    return {
      sizeBytes: object.sizeBytes,
      read: (span, signal) => {
        const whole = { start: 0, end: object.sizeBytes };
        const chunks = object.read(span ?? whole);
        if (!this.#tools.checkDigest) return chunks;
        const length = (span ?? whole).end - (span ?? whole).start;
        return holdBack(chunks, length, this.#checks.run(digest, () => this.#check(digest)).answer, signal);
      },
      close: () => object.close(),
    };
  }

  /** Hashes a stored blob; what is damaged is removed, so that the next request fetches it anew. */
  async #check(digest: Digest): Promise<void> {
    const { content, hashes } = this.#tools;
    const object = await content.openBlob(digest);
    if (object === undefined) return;
    try {
      const hash = hashes.start(algorithmOf(digest));
      try {
        for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) await hash.bytes(chunk);
        if ((await hash.digest()) === digest) return;
      } finally {
        hash.drop();
      }
    } finally {
      await object.close();
    }
    await content.removeBlob(digest);
    throw new StoreError(`the stored content of ${digest} was damaged, and was removed`, undefined);
  }

  #id(repository: Repository): RepositoryId {
    return { namespace: this.#tools.namespace, repository };
  }
}
