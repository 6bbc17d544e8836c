import assert from "node:assert/strict";
import { algorithmOf, type Digest, digestOf } from "../../src/oci/digest.ts";
import { pseudoRandomBytes } from "./content.ts";
import { bytesOf, digestOfDocument, imageOf, indexOf } from "./hosted.ts";
import { request, type RequestOptions, type WholeResponse } from "./http.ts";
import { Fact, Known, seeContent, seeLists, type Upload, usedIn } from "./pushed.ts";

const imageMediaType = "application/vnd.oci.image.manifest.v1+json";

/** The server is not there any more, or has broken the connection. */
class Broken extends Error {
  override readonly name = "Broken";
}

/**
 * A client that pushes to two repositories of its own, at random, and knows what it was promised. After the server has
 * been killed in the middle of it, it sees that each promise is kept.
 */
export class PushingClient {
  readonly #random: () => number;
  readonly #onAnswer: () => void;
  readonly #name: string;
  readonly #repositories: readonly [Known, Known];
  #url = "";
  #made = 0;
  /** How many uploads were begun by which it does not know the name. */
  nameless = 0;

  /** @param onAnswer Told of each answer. */
  constructor(name: string, random: () => number, onAnswer: () => void) {
    this.#random = random;
    this.#onAnswer = onAnswer;
    this.#name = name;
    const ask = (path: string, options?: RequestOptions): Promise<WholeResponse> => this.#ask(path, options);
    this.#repositories = [new Known(`${name}/a`, ask), new Known(`${name}/b`, ask)];
  }

  /** Pushes until the server has gone. */
  async push(url: string): Promise<void> {
    this.#url = url;
    try {
      for (;;) await this.#step();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
    }
  }

  /**
   * Sees that all is as promised: what is not known for sure, what was begun, and of the rest so much.
   *
   * @returns how many things were looked at.
   */
  async verify(url: string, most: number): Promise<number> {
    this.#url = url;
    let count = 0;
    for (const known of this.#repositories) {
      for (const upload of known.uploads) await this.#goOn(known, upload);
      const chance = most / (known.blobs.size + known.documents.size + known.tags.size);
      const isChosen = ({ isSure }: Fact<unknown>): boolean => !isSure || this.#random() < chance;
      for (const [digest, { isThere, bytes }] of known.blobs) {
        if (isChosen(isThere) && ++count > 0) await seeContent(known, `/blobs/${digest}`, isThere, bytes);
      }
      for (const [digest, { isThere, document }] of known.documents) {
        if (isChosen(isThere) && ++count > 0) {
          await seeContent(known, `/manifests/${digest}`, isThere, bytesOf(document));
        }
      }
      for (const [tag, fact] of known.tags) {
        if (!isChosen(fact) || ++count === 0) continue;
        const found = (await known.pusher.digest(tag)) as Digest | undefined;
        fact.settle(found, `${known.name}:${tag}`);
      }
      await seeLists(known);
    }
    return count;
  }

  async #ask(path: string, options?: RequestOptions): Promise<WholeResponse> {
    let answer: WholeResponse;
    try {
      answer = await request(`${this.#url}${path}`, { target: path, ...options });
    } catch (error) {
      throw new Broken(String(error));
    }
    this.#onAnswer();
    return answer;
  }

  async #step(): Promise<void> {
    const [known, other] = this.#random() < 0.5 ? this.#repositories : this.#repositories.toReversed();
    assert.ok(known !== undefined && other !== undefined);
    const chance = this.#random();
    if (chance < 0.3) await this.#pushBlob(known);
    else if (chance < 0.6) await this.#pushImage(known);
    else if (chance < 0.7) await this.#pushIndex(known);
    else if (chance < 0.8) await this.#mount(known, other);
    else if (chance < 0.87) await this.#deleteTag(known);
    else if (chance < 0.94) await this.#deleteManifest(known);
    else await this.#deleteBlob(known);
  }

  #make(sizeBytes = 2 + Math.floor(this.#random() ** 3 * 1_500_000)): Buffer {
    return pseudoRandomBytes(sizeBytes, `${this.#name} ${this.#made++}`);
  }

  #pick<T>(from: Iterable<T>): T | undefined {
    const all = [...from];
    return all[Math.floor(this.#random() * all.length)];
  }

  /** In whichever way a blob can be pushed. */
  async #pushBlob(known: Known, bytes: Buffer = this.#make()): Promise<Digest> {
    const { pusher } = known;
    const digest = digestOf(bytes, this.#random() < 0.1 ? "sha512" : "sha256");
    const isThere = new Fact(false);
    known.blobs.set(digest, { bytes, isThere });
    isThere.possible = [false, true];
    const form = this.#random();
    if (form < 0.25) {
      this.nameless += 1;
      const { status } = await pusher.ask(`/blobs/uploads/?digest=${digest}`, { method: "POST", body: bytes });
      assert.equal(status, 201);
      this.nameless -= 1;
    } else {
      const upload = { location: await pusher.open(), digest, bytes, toldBytes: 0 };
      known.uploads.add(upload);
      if (form > 0.5) await this.#sendChunks(known, upload, form > 0.75 ? bytes.length : 1 + bytes.length / 3);
      const whole = form > 0.5 ? [] : [bytes];
      assert.equal((await pusher.put(upload.location, digest, ...whole)).status, 201);
      known.uploads.delete(upload);
    }
    isThere.possible = [true];
    return digest;
  }

  async #sendChunks({ pusher }: Known, upload: Upload, sizeBytes: number): Promise<void> {
    const { bytes, location } = upload;
    while (upload.toldBytes < bytes.length) {
      const start = upload.toldBytes;
      const chunk = bytes.subarray(start, start + Math.ceil(sizeBytes));
      const { status, headers } = await pusher.patch(location, chunk, start);
      upload.toldBytes = start + chunk.length;
      assert.deepEqual([status, headers.range], [202, `0-${upload.toldBytes - 1}`]);
    }
  }

  /** Goes on with what was begun: where the server says, which is behind all that it has said before. */
  async #goOn(known: Known, upload: Upload): Promise<void> {
    const { pusher, blobs } = known;
    const { location, digest, bytes, toldBytes } = upload;
    const isDone = (await pusher.ask(`/blobs/${digest}`, { method: "HEAD" })).status === 200;
    if (!isDone) {
      const state = await pusher.ask(location);
      assert.equal(state.status, 204);
      const last = Number(String(state.headers.range).slice(2));
      // What was received whole may be content by now, of which nobody was told.
      const isTaken = last === 0 && toldBytes === bytes.length;
      assert.ok(last + 1 >= toldBytes || isTaken, `${location}: ${last} after ${toldBytes}`);
      upload.toldBytes = last === 0 ? 0 : last + 1;
      await this.#sendChunks(known, upload, bytes.length);
    }
    assert.equal((await pusher.put(location, digest)).status, 201);
    known.uploads.delete(upload);
    const blob = blobs.get(digest);
    assert.ok(blob !== undefined);
    blob.isThere.possible = [true];
  }

  async #pushImage(known: Known): Promise<void> {
    const [config, layer] = [this.#make(20), this.#make()];
    await this.#pushBlob(known, config).then(async (digest) => {
      // Its descriptor is one of SHA-256.
      if (algorithmOf(digest) !== "sha256") await known.pusher.blob(config);
    });
    if (algorithmOf(await this.#pushBlob(known, layer)) !== "sha256") await known.pusher.blob(layer);
    const children = [digestOf(config), digestOf(layer)];
    for (const [index, bytes] of [config, layer].entries()) {
      const digest = children[index] as Digest;
      if (!known.blobs.has(digest)) known.blobs.set(digest, { bytes, isThere: new Fact(true) });
    }
    const subject = this.#random() < 0.3 ? this.#pickManifest(known) : undefined;
    const described = subject && { mediaType: imageMediaType, digest: subject, size: 1 };
    const more = described === undefined ? {} : { subject: described };
    await this.#pushManifest(known, imageOf(config, [layer], more), children, subject);
  }

  async #pushIndex(known: Known): Promise<void> {
    const images = [...known.documents].filter(([, { isThere }]) => isThere.isSure && isThere.value);
    const chosen = images.filter(() => this.#random() < 0.3).map(([digest, { document }]) => ({ digest, document }));
    const document = indexOf(
      chosen.map((each) => each.document),
      { annotations: { index: `${this.#made++}` } },
    );
    await this.#pushManifest(
      known,
      document,
      chosen.map(({ digest }) => digest),
      undefined,
    );
  }

  async #pushManifest(known: Known, document: object, children: readonly Digest[], subject: Digest | undefined) {
    const digest = digestOfDocument(document);
    const tags = ["latest", "edge", `v${this.#made++}`].filter(() => this.#random() < 0.4);
    const isThere = new Fact(false);
    known.documents.set(digest, { document, children, subject, isThere });
    isThere.possible = [false, true];
    const facts = tags.map((tag) => {
      const fact = known.tags.get(tag) ?? new Fact<Digest | undefined>(undefined);
      known.tags.set(tag, fact);
      fact.possible = [...fact.possible, digest];
      return fact;
    });
    const query = tags.map((tag) => `tag=${tag}`).join("&");
    const { status, headers } = await known.pusher.manifest(`${digest}?${query}`, document);
    assert.deepEqual([status, headers["oci-subject"]], [201, subject]);
    isThere.possible = [true];
    for (const fact of facts) fact.possible = [digest];
  }

  #pickManifest(known: Known): Digest | undefined {
    return this.#pick([...known.documents].filter(([, { isThere }]) => isThere.value))?.[0];
  }

  async #mount(known: Known, from: Known): Promise<void> {
    const [digest, source] = this.#pick([...from.blobs].filter(([, { isThere }]) => isThere.value)) ?? [];
    if (digest === undefined || source === undefined) return;
    const isThere = known.blobs.get(digest)?.isThere ?? new Fact(false);
    known.blobs.set(digest, { bytes: source.bytes, isThere });
    isThere.possible = [...new Set([...isThere.possible, true])];
    const query = `?mount=${digest}&from=apps/${from.name}`;
    const { status } = await known.pusher.ask(`/blobs/uploads/${query}`, { method: "POST" });
    assert.equal(status, 201);
    isThere.possible = [true];
  }

  async #deleteTag(known: Known): Promise<void> {
    const [tag, fact] = this.#pick([...known.tags].filter(([, { value }]) => value !== undefined)) ?? [];
    if (tag === undefined || fact === undefined) return;
    fact.possible = [...fact.possible, undefined];
    assert.equal((await known.pusher.ask(`/manifests/${tag}`, { method: "DELETE" })).status, 202);
    fact.possible = [undefined];
  }

  /** One of which no other is made. */
  async #deleteManifest(known: Known): Promise<void> {
    const used = usedIn(known);
    const unused = [...known.documents].filter(([digest, { isThere }]) => isThere.value && !used.has(digest));
    const [digest, document] = this.#pick(unused) ?? [];
    if (digest === undefined || document === undefined) return;
    document.isThere.possible = [true, false];
    const facts = [...known.tags.values()].filter(({ value }) => value === digest);
    for (const fact of facts) fact.possible = [digest, undefined];
    assert.equal((await known.pusher.ask(`/manifests/${digest}`, { method: "DELETE" })).status, 202);
    document.isThere.possible = [false];
    for (const fact of facts) fact.possible = [undefined];
  }

  async #deleteBlob(known: Known): Promise<void> {
    const used = usedIn(known);
    const unused = [...known.blobs].filter(([digest, { isThere }]) => isThere.value && !used.has(digest));
    const [digest, blob] = this.#pick(unused) ?? [];
    if (digest === undefined || blob === undefined) return;
    blob.isThere.possible = [true, false];
    assert.equal((await known.pusher.ask(`/blobs/${digest}`, { method: "DELETE" })).status, 202);
    blob.isThere.possible = [false];
  }
}
