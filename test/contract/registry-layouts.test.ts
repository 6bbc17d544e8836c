import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { create } from "tar";
import type { LayoutFiles } from "../../src/layout/files.ts";
import type { Repository } from "../../src/oci/reference.ts";
import type { Registry } from "../../src/registry/registry.ts";
import { StoreError } from "../../src/store/object-store.ts";
import { addToLayout } from "../support/layout-writer.ts";
import { filesOf, type LayoutWorld, openLayouts } from "../support/layout-world.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { registrySuite } from "./registry.ts";
import { capabilitiesOfHosted, type Image, type Subject } from "./registry-subject.ts";

/** A registry over layouts in a folder, into which everything is written. */
class LayoutSubject implements Subject {
  readonly registry: Registry;
  readonly #world: LayoutWorld;
  readonly #folder: TemporaryDirectory;
  readonly #isArchive: boolean;
  readonly #failing: { isSo: boolean };

  private constructor(world: LayoutWorld, folder: TemporaryDirectory, failing: { isSo: boolean }, isArchive: boolean) {
    this.#world = world;
    this.#folder = folder;
    this.#failing = failing;
    this.#isArchive = isArchive;
    this.registry = world.layouts.registry();
  }

  static async open(isArchive: boolean): Promise<LayoutSubject> {
    const folder = await createTemporaryDirectory();
    await mkdir(join(folder.path, "source"));
    const files = await filesOf(join(folder.path, "source"));
    const failing = { isSo: false };
    const fail = (): void => {
      if (failing.isSo) throw new StoreError("made to fail", new Error("made to fail"));
    };
    const watched: LayoutFiles = {
      async *list(...listed) {
        fail();
        yield* files.list(...listed);
      },
      async get(key) {
        fail();
        return files.get(key);
      },
    };
    return new LayoutSubject(openLayouts(watched), folder, failing, isArchive);
  }

  async publish(repository: Repository, { manifests = [], blobs = [] }: Image): Promise<void> {
    // No file can have the longest name.
    const isArchive = this.#isArchive && repository.length < 250;
    const folder = join(this.#folder.path, isArchive ? "layouts" : "source", repository);
    // What no manifest lists is an entry as well: it would belong to no repository.
    const entries = blobs.map((blob) => ({ ...blob, mediaType: "application/octet-stream" }));
    await addToLayout(folder, [...entries, ...manifests]);
    if (!isArchive) return;
    const archive = join(this.#folder.path, "source", `${repository}.tar`);
    await mkdir(join(archive, ".."), { recursive: true });
    await create({ cwd: folder, file: archive }, ["."]);
  }

  async settle(): Promise<void> {}

  fail(): void {
    this.#failing.isSo = true;
  }

  mend(): void {
    this.#failing.isSo = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#world[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}

const capabilities = { ...capabilitiesOfHosted, remembers: true };
registrySuite("layouts in a folder", () => LayoutSubject.open(false), capabilities);
registrySuite("layouts in archives", () => LayoutSubject.open(true), capabilities);
