import type { IncomingMessage, ServerResponse } from "node:http";
import { setImmediate as turn } from "node:timers/promises";
import type { S3Options } from "../../src/store/s3-options.ts";
import { FakeBucket, type Headers, S3Refusal, type S3Profile } from "./fake-s3-bucket.ts";
import { type Answer, listing, operationOf, partsIn, type S3Operation, xmlAnswer } from "./fake-s3-protocol.ts";
import { assertSigned, type FakeKeys } from "./fake-s3-signature.ts";
import { createListener, type Listener } from "./listener.ts";

/** How one request goes wrong. */
export type S3Fault =
  | { readonly refuse: S3Refusal }
  /** The connection is reset when so many bytes of the request's body have come. */
  | { readonly resetAfterBytes: number }
  /** What was asked for is done, and the connection is reset instead of an answer. */
  | { readonly loseAnswer: true }
  /** The answer's body stops after so many bytes: the connection is reset, or nothing more comes. */
  | { readonly breakAt: number }
  | { readonly stallAt: number }
  /** Nothing is done until this resolves. */
  | { readonly wait: Promise<void> }
  /** Done before the request is looked at, as by somebody else. */
  | { readonly before: () => void };

/** A request that came. */
export interface S3Asked {
  readonly operation: S3Operation;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  readonly bodyBytes: number;
}

const defaultProfile: S3Profile = {
  pageSize: 1000,
  minPartBytes: 0,
  equalParts: false,
  refusesChecksums: false,
  refusesDoubleSignature: true,
  conflicts: false,
  looksEarly: false,
  ignoresConditions: false,
  refusesConditions: false,
  ignoresRanges: false,
  maxRangeBytes: Infinity,
  listsInDisorder: false,
  refusesParts: false,
};

/**
 * A server that speaks as much of S3 as the store uses, over HTTP, and goes wrong where it is told to.
 */
export class FakeS3 implements AsyncDisposable {
  readonly bucketName = "cache";
  readonly bucket: FakeBucket;
  /** All requests, in order. */
  readonly asked: S3Asked[] = [];
  /** Of these keys one is taken; they may be changed. */
  keys: FakeKeys[] = [{ accessKeyId: "access", secretAccessKey: "a secret that is nowhere else" }];
  /** How far the server's clock is before that of the machine. */
  clockOffsetMs = 0;
  /** How requests go wrong that have no fault of their own. */
  trouble: ((operation: S3Operation, headers: Headers, key: string) => S3Fault | undefined) | undefined;
  readonly #profile: S3Profile;
  readonly #faults: { readonly operation: S3Operation; readonly fault: S3Fault }[] = [];
  readonly #writing = new Map<string, number>();
  #listener!: Listener;

  private constructor(profile: S3Profile) {
    this.#profile = profile;
    this.bucket = new FakeBucket(profile, () => this.#now());
  }

  static async start(profile: Partial<S3Profile> = {}): Promise<FakeS3> {
    const fake = new FakeS3({ ...defaultProfile, ...profile });
    fake.#listener = await createListener((request, response) => void fake.#serve(request, response));
    return fake;
  }

  get endpoint(): string {
    return `http://${this.#listener.host}`;
  }

  /** How a store is told of it. */
  options(changed: Partial<S3Options> = {}): S3Options {
    const { bucketName: bucket, endpoint, keys } = this;
    return { bucket, endpoint, credentials: keys[0], prefix: "some/prefix", ...changed };
  }

  /** The next request of this kind goes wrong; of several faults each is for one request, in order. */
  fail(operation: S3Operation, ...faults: S3Fault[]): void {
    for (const fault of faults) this.#faults.push({ operation, fault });
  }

  /** From here on nothing goes wrong. */
  forgive(): void {
    this.trouble = undefined;
    this.#faults.length = 0;
  }

  /** How often something was asked for. */
  count(operation: S3Operation): number {
    return this.asked.filter((asked) => asked.operation === operation).length;
  }

  down(): Promise<void> {
    return this.#listener.down();
  }

  up(): Promise<void> {
    return this.#listener.up();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener.down();
  }

  #now(): number {
    return Date.now() + this.clockOffsetMs;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://s3.example.com");
    const [, bucket = "", ...rest] = url.pathname.split("/").map(decodeURIComponent);
    const key = rest.join("/");
    const operation = operationOf(request.method ?? "", key, url.searchParams);
    const index = this.#faults.findIndex((each) => each.operation === operation);
    const fault =
      index === -1 ? this.trouble?.(operation, request.headers, key) : this.#faults.splice(index, 1)[0]?.fault;
    try {
      if (fault !== undefined && "before" in fault) fault.before();
      if (fault !== undefined && "wait" in fault) await fault.wait;
      if (operation === "PutObject") await this.#enter(key, request.headers);
      const body = await readBody(request, fault);
      if (body === undefined) return;
      const asked = { operation, key, query: url.searchParams, headers: request.headers, bodyBytes: body.length };
      this.asked.push(asked);
      if (fault !== undefined && "refuse" in fault) throw fault.refuse;
      this.#authenticate(request);
      if (bucket !== this.bucketName) throw new S3Refusal(404, "NoSuchBucket");
      const answer = this.#answer(asked, body);
      if (fault !== undefined && "loseAnswer" in fault) request.socket.resetAndDestroy();
      else this.#send(response, request, answer, fault);
    } catch (thrown) {
      const error = thrown instanceof S3Refusal ? thrown : new S3Refusal(500, "InternalError");
      const xml = `<?xml version="1.0"?><Error><Code>${error.code}</Code><Message>${error.message}</Message></Error>`;
      this.#send(
        response,
        request,
        { status: error.status, headers: error.headers, body: Buffer.from(xml) },
        undefined,
      );
    } finally {
      if (operation === "PutObject") this.#writing.set(key, (this.#writing.get(key) ?? 1) - 1);
    }
  }

  /** A put begins. */
  async #enter(key: string, headers: Headers): Promise<void> {
    const others = this.#writing.get(key) ?? 0;
    this.#writing.set(key, others + 1);
    const isConditional = headers["if-match"] !== undefined || headers["if-none-match"] !== undefined;
    if (this.#profile.conflicts && others > 0) throw new S3Refusal(409, "ConditionalRequestConflict");
    if (this.#profile.looksEarly && isConditional) {
      this.bucket.assertConditions(key, headers);
      for (let turns = 0; turns < 1000 && (this.#writing.get(key) ?? 0) < 2; turns++) await turn();
    }
  }

  /** @throws {S3Refusal} */
  #authenticate({ method = "", url = "", headers }: IncomingMessage): void {
    const isSignedTwice = url.includes("X-Amz-Signature=") && headers.authorization !== undefined;
    if (this.#profile.refusesDoubleSignature && isSignedTwice) throw new S3Refusal(400, "InvalidArgument");
    assertSigned({ method, target: url, headers }, this.keys, this.#now());
    const checksums = Object.keys(headers).filter((name) => /^x-amz-(checksum|sdk-checksum|trailer)/.test(name));
    if (this.#profile.refusesChecksums && checksums.length > 0) throw new S3Refusal(501, "NotImplemented");
  }

  #answer({ operation, key, query, headers }: S3Asked, body: Buffer): Answer {
    const { bucket } = this;
    const uploadId = query.get("uploadId") ?? "";
    switch (operation) {
      case "HeadObject":
      case "GetObject":
        return this.#get(key, headers);
      case "PutObject":
        if (!this.#profile.looksEarly) bucket.assertConditions(key, headers);
        return { status: 200, headers: { etag: bucket.put(key, body, headers) } };
      case "DeleteObject":
        bucket.assertConditions(key, headers);
        bucket.objects.delete(key);
        return { status: 204 };
      case "ListObjectsV2":
        return xmlAnswer(
          "ListBucketResult",
          listing(bucket.list(query.get("prefix") ?? "", query.get("start-after") ?? "")),
        );
      case "CreateMultipartUpload":
        return xmlAnswer("InitiateMultipartUploadResult", `<UploadId>${bucket.begin(key, headers)}</UploadId>`);
      case "UploadPart": {
        const etag = bucket.addPart(uploadId, Number(query.get("partNumber")), body);
        const { "x-amz-checksum-crc32": crc32 } = headers;
        return {
          status: 200,
          headers: { etag, ...(typeof crc32 === "string" ? { "x-amz-checksum-crc32": crc32 } : {}) },
        };
      }
      case "CompleteMultipartUpload": {
        const etag = bucket.complete(uploadId, key, partsIn(body.toString()), headers);
        return xmlAnswer("CompleteMultipartUploadResult", `<ETag>${etag.replaceAll('"', "&quot;")}</ETag>`);
      }
      case "AbortMultipartUpload":
        bucket.abort(uploadId);
        return { status: 204 };
      case "other":
        throw new S3Refusal(400, "MissingContentMD5");
    }
  }

  #get(key: string, headers: Headers): Answer {
    const found = this.bucket.objects.get(key);
    if (found === undefined) throw new S3Refusal(404, "NoSuchKey");
    this.bucket.assertConditions(key, headers);
    const about = { etag: found.etag, ...found.metadata, "last-modified": new Date(found.writtenAt).toUTCString() };
    const [, first, last = ""] = /^bytes=(\d+)-(\d*)$/.exec(String(headers["range"])) ?? [];
    if (first === undefined || this.#profile.ignoresRanges) return { status: 200, headers: about, body: found.bytes };
    const start = Number(first);
    if (start >= found.bytes.length) throw new S3Refusal(416, "InvalidRange");
    const end = Math.min(
      found.bytes.length,
      start + this.#profile.maxRangeBytes,
      last === "" ? Infinity : Number(last) + 1,
    );
    const range = `bytes ${start}-${end - 1}/${found.bytes.length}`;
    return { status: 206, headers: { ...about, "content-range": range }, body: found.bytes.subarray(start, end) };
  }

  #send(response: ServerResponse, request: IncomingMessage, answer: Answer, fault: S3Fault | undefined): void {
    const { status, headers = {}, body = Buffer.alloc(0) } = answer;
    response.sendDate = false;
    response.writeHead(status, {
      date: new Date(this.#now()).toUTCString(),
      ...headers,
      ...(status === 204 ? {} : { "content-length": body.length }),
    });
    if (request.method === "HEAD") return void response.end();
    if (fault !== undefined && "stallAt" in fault) return void response.write(body.subarray(0, fault.stallAt));
    if (fault !== undefined && "breakAt" in fault) {
      return void response.write(body.subarray(0, fault.breakAt), () => request.socket.resetAndDestroy());
    }
    response.end(body);
  }
}

/** `undefined` where the connection was reset on the way. */
async function readBody(request: IncomingMessage, fault: S3Fault | undefined): Promise<Buffer | undefined> {
  const most = fault !== undefined && "resetAfterBytes" in fault ? fault.resetAfterBytes : Infinity;
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= most) break;
    }
  } catch {
    return undefined;
  }
  if (length < most) return Buffer.concat(chunks);
  request.socket.resetAndDestroy();
  return undefined;
}
