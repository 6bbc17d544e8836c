import { Header } from "tar/header";
import { Pax } from "tar/pax";
import { type Key, type OpenObject, StoreError, type Version } from "../store/object-store.ts";
import { type LayoutFiles } from "./files.ts";
import { indexName } from "./image-layout.ts";
import { LayoutError } from "./index-document.ts";

const blockBytes = 512;
/** How much is read at a time where a header is: those of small files come with the one before. */
const windowBytes = 32 * 1024;
const maxEntries = 100_000;
/** The largest header that says what the next one cannot: a long name. */
const maxExtensionBytes = 1024 * 1024;

/** The files in an archive, by their names in it. Each is read from inside it, by ranges. */
export interface ArchiveFiles extends LayoutFiles {
  readonly names: readonly string[];
}

interface Entry {
  readonly start: number;
  readonly sizeBytes: number;
}

/**
 * Looks through a tar archive among `files`; nothing of it is copied, and its files' content is not read. A name that
 * leads out of the archive is none; of two files of one name the later one counts; a hard link is what it links to.
 *
 * @param version The archive's. It is another one later: then it has no files any more.
 * @returns `undefined` where there is no such archive, or not any more.
 * @throws {LayoutError} it is none, is compressed, or ends early.
 * @throws {StoreError}
 */
export async function openArchive(files: LayoutFiles, key: Key, version: Version): Promise<ArchiveFiles | undefined> {
  const entries = await withObject(files, key, version, (object) => readEntries(object));
  if (entries === undefined) return undefined;
  return {
    names: [...entries.keys()],
    async *list(prefix, { after = "" as Key } = {}) {
      const names = [...entries.keys()].filter((name) => prefix === "" || name.startsWith(`${prefix}/`));
      for (const name of names.toSorted()) {
        const { start, sizeBytes } = entries.get(name) ?? nothing;
        if (name > after) yield { key: name as Key, sizeBytes, version: versionAt(version, start), writtenAt: 0 };
      }
    },
    async get(name) {
      const entry = entries.get(name);
      const object = entry && (await openSame(files, key, version));
      return entry && object && partOf(object, entry);
    },
  };
}

/** The folder of an archive in which the layout is: that of its uppermost `index.json`. */
export function rootOf(archive: ArchiveFiles): string {
  const found = archive.names.filter((name) => name === indexName || name.endsWith(`/${indexName}`));
  const [first = indexName] = found.toSorted((one, other) => one.split("/").length - other.split("/").length);
  return first.slice(0, Math.max(0, first.length - indexName.length - 1));
}

const nothing: Entry = { start: 0, sizeBytes: 0 };

async function withObject<T>(
  files: LayoutFiles,
  key: Key,
  version: Version,
  work: (object: OpenObject) => Promise<T>,
): Promise<T | undefined> {
  const object = await openSame(files, key, version);
  if (object === undefined) return undefined;
  try {
    return await work(object);
  } finally {
    await object.close();
  }
}

/** Opens the archive, where it is the one that was looked through. */
async function openSame(files: LayoutFiles, key: Key, version: Version): Promise<OpenObject | undefined> {
  const object = await files.get(key);
  if (object === undefined || object.version === version) return object;
  await object.close();
  return undefined;
}

function partOf(archive: OpenObject, { start, sizeBytes }: Entry): OpenObject {
  return {
    sizeBytes,
    version: versionAt(archive.version, start),
    read: (span) => archive.read({ start: start + span.start, end: start + span.end }),
    close: () => archive.close(),
  };
}

function versionAt(archive: Version, start: number): Version {
  return `${archive} ${start}` as Version;
}

/** Goes from header to header. */
async function readEntries(archive: OpenObject): Promise<ReadonlyMap<string, Entry>> {
  const reader = new Reader(archive);
  assertPlain(await reader.read(0, Math.min(blockBytes, archive.sizeBytes)));
  const entries = new Map<string, Entry>();
  let extension: Pick<Pax, "path" | "linkpath" | "size"> = {};
  for (let position = 0, count = 0; position + blockBytes <= archive.sizeBytes; count++) {
    if (count >= maxEntries) throw new LayoutError(`it has more than ${maxEntries} entries`);
    const header = decode(await reader.read(position, blockBytes));
    if (header?.nullBlock === true) break;
    if (header?.cksumValid !== true) {
      throw new LayoutError(`it is no tar archive: at byte ${position} there is no header`);
    }
    const start = position + blockBytes;
    const { type } = header;
    const sizeBytes = extensions.has(type) ? (header.size ?? 0) : (extension.size ?? header.size ?? 0);
    if (!Number.isSafeInteger(sizeBytes)) throw new LayoutError(`the header at byte ${position} has no valid size`);
    position = start + Math.ceil(sizeBytes / blockBytes) * blockBytes;
    if (start + sizeBytes > archive.sizeBytes) {
      throw new LayoutError(`it ends early: within the file whose header is at byte ${start - blockBytes}`);
    }
    if (extensions.has(type)) {
      if (sizeBytes > maxExtensionBytes) throw new LayoutError(`the header at byte ${start - blockBytes} is too long`);
      const text = (await reader.read(start, sizeBytes)).toString("utf8");
      extension = { ...extension, ...extensionOf(type, text) };
      continue;
    }
    const name = nameIn(extension.path ?? header.path);
    const target = type === "Link" ? entries.get(nameIn(extension.linkpath ?? header.linkpath) ?? "") : undefined;
    if (name !== undefined && files.has(type)) entries.set(name, { start, sizeBytes });
    else if (name !== undefined && target !== undefined) entries.set(name, target);
    extension = {};
  }
  return entries;
}

/** What stands in a header; `undefined` where that cannot be read, which the decoder says by whatever it throws. */
function decode(block: Buffer): Header | undefined {
  try {
    return new Header(block);
  } catch {
    return undefined;
  }
}

const files: ReadonlySet<string> = new Set(["File", "OldFile", "ContiguousFile"]);
const extensions: ReadonlySet<string> = new Set([
  "ExtendedHeader",
  "GlobalExtendedHeader",
  "NextFileHasLongPath",
  "OldGnuLongPath",
  "NextFileHasLongLinkpath",
]);

/** What a header that stands before another one says of that; what holds for all of them says nothing of names. */
function extensionOf(type: string, text: string): Pick<Pax, "path" | "linkpath" | "size"> {
  if (type === "GlobalExtendedHeader") return {};
  if (type === "ExtendedHeader") {
    const { path, linkpath, size } = Pax.parse(text);
    return {
      ...(path !== undefined && { path }),
      ...(linkpath !== undefined && { linkpath }),
      ...(size !== undefined && { size }),
    };
  }
  const name = text.replace(/\0.*$/s, "");
  return type === "NextFileHasLongLinkpath" ? { linkpath: name } : { path: name };
}

/** A name in the archive as its files are asked for; `undefined` for one that leads out of it. */
function nameIn(path: string | undefined): string | undefined {
  if (path === undefined || path.startsWith("/")) return undefined;
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  return parts.length === 0 || parts.includes("..") ? undefined : parts.join("/");
}

const compressions: readonly (readonly [name: string, magic: string, remedy: string])[] = [
  ["gzip", "1f8b", "gunzip"],
  ["zstd", "28b52ffd", "unzstd"],
  ["xz", "fd377a585a00", "unxz"],
  ["bzip2", "425a68", "bunzip2"],
];

/** Ranges can be had of what is not compressed only. */
function assertPlain(beginning: Buffer): void {
  if (beginning.length < blockBytes) throw new LayoutError("it is no tar archive: it is too short");
  const hex = beginning.subarray(0, 8).toString("hex");
  const [name, , remedy] = compressions.find(([, magic]) => hex.startsWith(magic)) ?? [];
  if (name !== undefined) {
    throw new LayoutError(`it is compressed with ${name}, and is read in place: uncompress it, as with ${remedy}`);
  }
}

/** Reads an archive's headers, those that lie near each other together. */
class Reader {
  readonly #archive: OpenObject;
  #window: Buffer = Buffer.alloc(0);
  #start = 0;

  constructor(archive: OpenObject) {
    this.#archive = archive;
  }

  /** @throws {StoreError} */
  async read(start: number, length: number): Promise<Buffer> {
    const end = start + length;
    if (start < this.#start || end > this.#start + this.#window.length) {
      const until = Math.min(this.#archive.sizeBytes, Math.max(end, start + windowBytes));
      const chunks: Buffer[] = [];
      for await (const chunk of this.#archive.read({ start, end: until })) chunks.push(Buffer.from(chunk));
      this.#window = Buffer.concat(chunks);
      this.#start = start;
      if (this.#window.length !== until - start) throw new StoreError("the archive is shorter than it was", undefined);
    }
    return this.#window.subarray(start - this.#start, end - this.#start);
  }
}
