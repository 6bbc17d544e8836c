import { createHash } from "node:crypto";

/** What a server takes and refuses, by which they differ. */
export interface S3Profile {
  /** How many keys a page of a listing has. */
  readonly pageSize: number;
  /** All parts but the last have to be so large. */
  readonly minPartBytes: number;
  /** All parts but the last have to be of one size (R2). */
  readonly equalParts: boolean;
  /** Checksum headers and trailers are refused (R2, Aliyun, Tencent, GCS). */
  readonly refusesChecksums: boolean;
  /** A signed query together with `Authorization` is refused (S3 itself). */
  readonly refusesDoubleSignature: boolean;
  /** Of puts to one key that overlap all but the first are told 409. */
  readonly conflicts: boolean;
  /** Conditions are looked at before the body is read, so that several writers win (SeaweedFS, RustFS, versitygw). */
  readonly looksEarly: boolean;
  readonly ignoresConditions: boolean;
  /** A request with a condition is refused as not implemented (B2). */
  readonly refusesConditions: boolean;
  readonly ignoresRanges: boolean;
  /** Of a range so many bytes come at most. */
  readonly maxRangeBytes: number;
  /** Sends listings in no order (directory buckets). */
  readonly listsInDisorder: boolean;
  /** Uploads in parts are not known. */
  readonly refusesParts: boolean;
}

/** What a bucket holds under a key. */
export interface StoredObject {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, string>>;
  readonly writtenAt: number;
}

/** An upload in parts that was begun. */
export interface StoredUpload {
  readonly key: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, string>>;
  readonly parts: Map<number, Buffer>;
}

/** A part as a CompleteMultipartUpload names it. */
export interface NamedPart {
  readonly number: number;
  readonly etag: string;
  readonly checksum: string | undefined;
}

/** An error answer of S3. */
export class S3Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, headers: Readonly<Record<string, string>> = {}) {
    super(`scripted ${code}`);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** A request's headers, by their names in lower case. */
export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** What lies in a bucket, and what becomes of it; nothing of HTTP. */
export class FakeBucket {
  readonly objects = new Map<string, StoredObject>();
  readonly uploads = new Map<string, StoredUpload>();
  readonly #profile: S3Profile;
  readonly #now: () => number;
  #uploadCount = 0;

  constructor(profile: S3Profile, now: () => number) {
    this.#profile = profile;
    this.#now = now;
  }

  /** @throws {S3Refusal} */
  assertConditions(key: string, headers: Headers): void {
    const { "if-match": match, "if-none-match": noneMatch } = headers;
    const isConditional = match !== undefined || noneMatch !== undefined;
    if (this.#profile.refusesConditions && isConditional) throw new S3Refusal(501, "NotImplemented");
    if (this.#profile.ignoresConditions) return;
    const found = this.objects.get(key);
    if (noneMatch === "*" && found !== undefined) throw new S3Refusal(412, "PreconditionFailed");
    if (match === undefined) return;
    if (found === undefined) throw new S3Refusal(404, "NoSuchKey");
    if (found.etag !== match) throw new S3Refusal(412, "PreconditionFailed");
  }

  put(key: string, bytes: Buffer, headers: Headers, etag = `"${md5(bytes)}"`): string {
    const { metadata, settings } = describedBy(headers);
    this.objects.set(key, { bytes, etag, metadata, settings, writtenAt: this.#now() });
    return etag;
  }

  begin(key: string, headers: Headers): string {
    if (this.#profile.refusesParts) throw new S3Refusal(501, "NotImplemented");
    const id = `upload-${++this.#uploadCount}`;
    this.uploads.set(id, { key, ...describedBy(headers), parts: new Map() });
    return id;
  }

  addPart(id: string, number: number, bytes: Buffer): string {
    this.#upload(id).parts.set(number, bytes);
    return `"${md5(bytes)}"`;
  }

  complete(id: string, key: string, listed: readonly NamedPart[], headers: Headers): string {
    const upload = this.#upload(id);
    const isChecked = upload.settings["x-amz-checksum-algorithm"] !== undefined;
    if (isChecked && listed.some(({ checksum }) => checksum === undefined)) throw new S3Refusal(400, "InvalidPart");
    const parts = listed.map(({ number, etag }) => {
      const bytes = upload.parts.get(number);
      if (bytes === undefined || `"${md5(bytes)}"` !== etag) throw new S3Refusal(400, "InvalidPart");
      return bytes;
    });
    const [first = Buffer.alloc(0)] = parts;
    for (const part of parts.slice(0, -1)) {
      if (part.length < this.#profile.minPartBytes) throw new S3Refusal(400, "EntityTooSmall");
      if (this.#profile.equalParts && part.length !== first.length) throw new S3Refusal(400, "InvalidPart");
    }
    this.assertConditions(key, headers);
    const digests = Buffer.concat(parts.map((part) => createHash("md5").update(part).digest()));
    const etag = `"${md5(digests)}-${parts.length}"`;
    const { metadata, settings } = upload;
    this.objects.set(key, { bytes: Buffer.concat(parts), etag, metadata, settings, writtenAt: this.#now() });
    this.uploads.delete(id);
    return etag;
  }

  abort(id: string): void {
    this.#upload(id);
    this.uploads.delete(id);
  }

  list(prefix: string, after: string): { readonly page: [string, StoredObject][]; readonly isTruncated: boolean } {
    const order = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
    const all = [...this.objects].filter(([key]) => key.startsWith(prefix) && order(key, after) > 0);
    all.sort(([a], [b]) => order(a, b));
    const page = all.slice(0, this.#profile.pageSize);
    if (this.#profile.listsInDisorder) page.reverse();
    return { page, isTruncated: all.length > page.length };
  }

  #upload(id: string): StoredUpload {
    const upload = this.uploads.get(id);
    if (upload === undefined) throw new S3Refusal(404, "NoSuchUpload");
    return upload;
  }
}

function describedBy(headers: Headers): Pick<StoredObject, "metadata" | "settings"> {
  const metadata: Record<string, string> = {};
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== "string") continue;
    if (name.startsWith("x-amz-meta-")) metadata[name] = value;
    if (/^x-amz-(server-side|storage-class|checksum-algorithm)/.test(name)) settings[name] = value;
  }
  return { metadata, settings };
}

function md5(bytes: Buffer): string {
  return createHash("md5").update(bytes).digest("hex");
}
