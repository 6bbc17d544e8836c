import type { Version, Key, ObjectInfo } from "../store/object-store.ts";
import { forEachOf } from "../concurrency/for-each-of.ts";
import { StoreError } from "../store/object-store.ts";
import { openArchive, rootOf } from "./archive.ts";
import { everything, type LayoutFiles } from "./files.ts";
import { indexName, layoutName } from "./image-layout.ts";
import { LayoutError, type Naming } from "./index-document.ts";
import {
  brokenPlace,
  dirManifestName,
  dockerArchiveAdvice,
  isDockerArchive,
  type Place,
  type PlaceKind,
  readDirPlace,
  readLayoutPlace,
} from "./place.ts";
import { readWhole } from "../store/read-whole.ts";
import { maxManifestBytes } from "../oci/manifest.ts";

/** How many places are read together. */
const atOnce = 4;
/** How many folders and archives with images a source may have. */
const maxPlaces = 100_000;
/** Content of a layout, which need not be looked at. */
const blobPath = /^(?:.*\/)?blobs\/sha(?:256|512)\//;
/** After so much content of one layout the listing is begun anew behind it: that costs as much as to list some more. */
const mostBlobs = 1_000;
const archiveName = /\.tar$/i;
/** Behind the names of all content. */
const last = "~";

/** What was found in a source, in the order of the places' names. */
export interface Scan {
  readonly places: readonly Place[];
  /** What is wrong with the source itself, for people. */
  readonly problems: readonly string[];
}

/** The files of a folder that say what it is. */
interface Folder {
  index?: ObjectInfo;
  manifest?: ObjectInfo;
  layout?: ObjectInfo;
}

interface Remembered {
  /** Those of the files that say what it is; `undefined` where they could not be read. */
  readonly versions: string | undefined;
  readonly place: Place;
}

/** Finds all images in a source. What has not changed since the last time is not read again. */
export class Scanner {
  readonly #files: LayoutFiles;
  readonly #naming: Naming;
  #remembered = new Map<string, Remembered>();

  constructor(files: LayoutFiles, naming: Naming) {
    this.#files = files;
    this.#naming = naming;
  }

  /**
   * Looks at everything once.
   *
   * @throws {StoreError} the source cannot be listed.
   */
  async scan(signal: AbortSignal): Promise<Scan> {
    const { folders, archives, problems, isWhole } = await this.#list(signal);
    const found = new Map<string, Remembered>();
    await forEachOf(folders, atOnce, async ([folder, { index, manifest, layout }]) => {
      signal.throwIfAborted();
      const versions = [index, manifest, layout].map((info) => info?.version ?? "").join(" ");
      // docker save writes both forms: the layout is the one that has digests.
      if (index !== undefined && (layout !== undefined || manifest === undefined)) {
        await this.#add(found, { path: folder, kind: "layout", versions }, () => this.#layout(folder));
      } else if (manifest !== undefined) {
        const read = (): Promise<Place | undefined> => readDirPlace(this.#files, folder, this.#naming);
        await this.#add(found, { path: folder, kind: "dir", versions }, read);
      }
    });
    await forEachOf(archives, atOnce, async ({ key, version }) => {
      signal.throwIfAborted();
      await this.#add(found, { path: key, kind: "archive", versions: version }, () => this.#archive(key, version));
    });
    // Where a part could not be listed, what was there before may be there still.
    for (const [path, known] of isWhole ? [] : this.#remembered) if (!found.has(path)) found.set(path, known);
    this.#remembered = found;
    const places = [...found].toSorted(([one], [other]) => (one < other ? -1 : 1));
    return { places: places.map(([, { place }]) => place), problems };
  }

  /**
   * Reads a place, unless it is as it was. One that cannot be read, or used, any more stays as it was, and is tried again the
   * next time: what it has is given out only if it is right.
   */
  async #add(
    found: Map<string, Remembered>,
    { path, kind, versions }: { readonly path: string; readonly kind: PlaceKind; readonly versions: string },
    read: () => Promise<Place | undefined>,
  ): Promise<void> {
    const known = this.#remembered.get(path);
    if (known?.versions === versions) return void found.set(path, known);
    try {
      const place = await read();
      if (place !== undefined) found.set(path, { versions, place });
    } catch (error) {
      if (!(error instanceof LayoutError || error instanceof StoreError)) throw error;
      const broken = brokenPlace(path, kind, error.message);
      // Its writer may be at it: several programs write an index in place.
      const isSettled = error instanceof LayoutError && (known?.place.images.length ?? 0) === 0;
      found.set(path, {
        versions: isSettled ? versions : undefined,
        place: { ...broken, ...known?.place, problems: broken.problems },
      });
    }
  }

  async #list(signal: AbortSignal): Promise<{
    readonly folders: ReadonlyMap<string, Folder>;
    readonly archives: readonly ObjectInfo[];
    readonly problems: readonly string[];
    readonly isWhole: boolean;
  }> {
    const folders = new Map<string, Folder>();
    const archives: ObjectInfo[] = [];
    const names: Readonly<Record<string, keyof Folder>> = {
      [indexName]: "index",
      [layoutName]: "layout",
      [dirManifestName]: "manifest",
    };
    let after: Key | undefined;
    const problems = new Set<string>();
    let isWhole = true;
    const onUnreadable = (error: StoreError): void => {
      isWhole = false;
      problems.add(error.message);
    };
    do {
      const start = after;
      after = undefined;
      let passed = { folder: "", count: 0 };
      for await (const info of this.#files.list(everything, { onUnreadable, ...(start && { after: start }) })) {
        signal.throwIfAborted();
        const [blobs] = blobPath.exec(info.key) ?? [];
        if (blobs !== undefined) {
          passed = { folder: blobs, count: passed.folder === blobs ? passed.count + 1 : 1 };
          const behind = `${blobs}${last}` as Key;
          // Never back, whatever the keys are.
          if (passed.count < mostBlobs || behind <= info.key) continue;
          after = behind;
          break;
        }
        const slash = info.key.lastIndexOf("/");
        const role = names[info.key.slice(slash + 1)];
        if (role === undefined && !archiveName.test(info.key)) continue;
        if (folders.size + archives.length >= maxPlaces) {
          problems.add(`it has more than ${maxPlaces} places with images: the others are not looked at`);
          break;
        }
        if (role === undefined) archives.push(info);
        else {
          const path = info.key.slice(0, Math.max(0, slash));
          const folder = folders.get(path) ?? {};
          folder[role] = info;
          folders.set(path, folder);
        }
      }
    } while (after !== undefined);
    return { folders, archives, problems: [...problems], isWhole };
  }

  async #layout(folder: string): Promise<Place | undefined> {
    const place = await readLayoutPlace(this.#files, folder, folder, this.#naming);
    return place && { ...place, kind: "layout" };
  }

  async #archive(key: Key, version: Version): Promise<Place | undefined> {
    const archive = await openArchive(this.#files, key, version);
    if (archive === undefined) return undefined;
    const folder = rootOf(archive);
    const place = await readLayoutPlace(archive, folder, key.replace(archiveName, ""), this.#naming);
    if (place !== undefined) return { ...place, path: key, kind: "archive", keyOf: () => undefined };
    const manifest = await archive.get(dirManifestName as Key);
    const bytes = manifest && (await readWhole(manifest, maxManifestBytes));
    throw new LayoutError(
      bytes !== undefined && isDockerArchive(bytes)
        ? dockerArchiveAdvice
        : `it is no OCI archive: it has no ${indexName}`,
    );
  }
}
