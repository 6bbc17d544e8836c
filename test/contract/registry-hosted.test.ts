import { Hosted } from "../../src/hosted/hosted.ts";
import { Quotas } from "../../src/hosted/quotas.ts";
import { Repositories } from "../../src/hosted/repositories.ts";
import { Uploads } from "../../src/hosted/uploads.ts";
import { algorithmOf } from "../../src/oci/digest.ts";
import { parseTag, type Repository } from "../../src/oci/reference.ts";
import type { PushRegistry, Registry } from "../../src/registry/registry.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { StoreError } from "../../src/store/object-store.ts";
import { failFiles } from "../support/failing-files.ts";
import { MemoryBytes } from "../support/memory-bytes.ts";
import { plainHosted } from "../support/mirror.ts";
import { SteppedStore } from "../support/stepped-store.ts";
import { registrySuite } from "./registry.ts";
import { onFolder } from "./registry-engine.ts";
import { capabilitiesOfHosted, type Image, type Subject } from "./registry-subject.ts";

/** What a hosted registry is on. */
interface Ground {
  /** Has all that is asked of what is stored fail from now on, until the result is disposed of. */
  fail(): Disposable;
  close(): Promise<void>;
}

/** A hosted registry, to which everything is pushed. */
class HostedSubject implements Subject {
  readonly registry: Registry;
  readonly #ground: Ground;
  #failing: Disposable | undefined;

  constructor(registry: Registry, ground: Ground) {
    this.registry = registry;
    this.#ground = ground;
  }

  async publish(repository: Repository, { manifests = [], blobs = [] }: Image): Promise<void> {
    const push = this.registry.push as PushRegistry;
    for (const { digest, bytes } of blobs) {
      const { session } = await push.openUpload(repository, algorithmOf(digest));
      const sent = (async function* () {
        yield bytes;
      })();
      await push.finishUpload(repository, session, digest, {
        start: undefined,
        sizeBytes: bytes.length,
        bytes: sent,
      });
    }
    for (const { tag, digest, bytes, mediaType: contentType } of manifests) {
      const tags = tag === undefined ? [] : [parseTag(tag)];
      await push.putManifest(repository, digest, { bytes, contentType, tags, condition: () => true });
    }
  }

  async settle(): Promise<void> {}

  fail(): void {
    this.#failing = this.#ground.fail();
  }

  mend(): void {
    this.#failing?.[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mend();
    await this.#ground.close();
  }
}

/** On a store in memory to which others write, too: nothing is remembered. */
async function inMemory(): Promise<Subject> {
  let isFailing = false;
  const before = (): void => {
    if (isFailing) throw new StoreError("made to fail", new Error("made to fail"));
  };
  const store = new SteppedStore(new MemoryStore(), { before });
  const bytes = new MemoryBytes(store);
  const monotonic = (): number => 0;
  const repositories = new Repositories({ store, bytes, isShared: true, graceMs: 3_600_000, monotonic });
  const uploads = new Uploads({ bytes, secret: async () => Buffer.from("secret") });
  const tools = { repositories, bytes, uploads, redirects: false, onDamage: () => undefined };
  const hosted = new Hosted({ ...tools, quotas: new Quotas(repositories, monotonic) });
  const { namespace, ...settings } = plainHosted;
  const noLimits = { maxChunkBytes: Infinity, maxBlobBytes: Infinity, quotaBytes: Infinity };
  return new HostedSubject(hosted.registry(namespace, { ...settings, ...noLimits }), {
    fail() {
      isFailing = true;
      return { [Symbol.dispose]: () => void (isFailing = false) };
    },
    close: () => uploads.close(),
  });
}

/** As the program composes it, on a folder. */
async function inFolder(): Promise<Subject> {
  const instance = await onFolder("127.0.0.1:9", { hosted: [plainHosted] });
  return new HostedSubject(instance.registryOf("apps"), {
    fail: () => failFiles(instance.root, "EIO", ["read"]),
    close: () => instance.close(),
  });
}

registrySuite("hosted in memory", inMemory, capabilitiesOfHosted);
registrySuite("hosted in a folder", inFolder, { ...capabilitiesOfHosted, remembers: true });
