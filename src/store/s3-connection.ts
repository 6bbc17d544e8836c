import type { AgentOptions } from "node:https";
import { getCACertificates } from "node:tls";
import type { S3, S3ClientConfig } from "@aws-sdk/client-s3";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import { type BucketPlace, S3Failure } from "./s3-failure.ts";
import { keyProvider, KeptKeys } from "./s3-keys.ts";
import {
  defaultConnectTimeoutMs,
  defaultMaxSockets,
  defaultRequestTimeoutMs,
  defaultRetries,
  type S3Keys,
  type S3Options,
} from "./s3-options.ts";

/** What every request is sent with. */
export interface RequestOptions {
  readonly abortSignal: AbortSignal;
  /** How long until the answer begins. */
  readonly requestTimeout: number;
}

/** How a request is made. */
export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** What is sent, as that takes time. */
  readonly sentBytes?: number;
  /** How long the server may work on it besides. */
  readonly extraMs?: number;
  /** The answer's body is read by who asked, for as long as that takes. */
  readonly streams?: boolean;
}

/** The slowest upload that is still waited for. */
const slowestBytesPerMs = 256;
/** For what the client does between its attempts: it waits 20 s at most. */
const restMs = 20_000;
/** So often may a refusal without a reason have newer credentials got. */
const suspicionMs = 60_000;
/** Below this, hashing takes less time than handing it to another thread. */
const smallBodyBytes = 64 * 1024;

/** No region is set, or what is set is none. */
export class UnknownRegion extends Error {
  override readonly name = "UnknownRegion";
}

/** The client library, loaded and configured for one bucket. Errors of it come as `S3Failure`. */
export class S3Connection {
  readonly place: BucketPlace;
  readonly retries: number;
  readonly requestTimeoutMs: number;
  readonly checksums: "when_required" | "when_supported";
  readonly #client: S3;
  readonly #keys: KeptKeys;
  readonly #closing = new AbortController();
  /** On the clock of `performance.now`. */
  #suspectAgainAt: number;

  private constructor(client: S3, keys: KeptKeys, options: S3Options) {
    this.#client = client;
    this.#keys = keys;
    this.place = { bucket: options.bucket, endpoint: options.endpoint, region: options.region };
    this.retries = options.retries ?? defaultRetries;
    this.requestTimeoutMs = options.requestTimeoutMs ?? defaultRequestTimeoutMs;
    this.checksums = checksumsOf(options);
    // Keys that are given as they are have no newer ones.
    this.#suspectAgainAt = typeof options.credentials === "object" ? Infinity : 0;
  }

  /**
   * Loads the library, which takes some 100 ms. Nothing is sent.
   *
   * @throws {UnknownRegion}
   */
  static async open(options: S3Options): Promise<S3Connection> {
    const { S3: Client } = await import("@aws-sdk/client-s3");
    const keys = new KeptKeys(await keyProvider(options));
    const client = new Client(configurationOf(options, keys));
    signOffThread(client);
    try {
      // Here, and not with the first request: it may come from AWS's settings, and does not get better by trying again.
      await client.config.region();
    } catch (error) {
      client.destroy();
      throw new UnknownRegion("the bucket's region is not known", { cause: error });
    }
    return new S3Connection(client, keys, options);
  }

  /** The client, for what sends nothing, as signing a URL. */
  get client(): S3 {
    return this.#client;
  }

  /**
   * Sends a request; the client repeats it where that may help. Credentials that have ended are got anew, once.
   *
   * @throws {S3Failure}
   */
  async run<T>(call: (s3: S3, options: RequestOptions) => Promise<T>, options: RunOptions = {}): Promise<T> {
    const { signal, sentBytes = 0, extraMs = 0, streams = false } = options;
    const requestTimeout = this.requestTimeoutMs + Math.ceil(sentBytes / slowestBytesPerMs) + extraMs;
    const signals = [this.#closing.signal];
    if (signal !== undefined) signals.push(signal);
    // The body of what is read for long ends when its reader wants; how long it may stand still is the reader's to say.
    const deadline = AbortSignal.timeout((requestTimeout + restMs) * (this.retries + 1));
    const abortSignal = AbortSignal.any(streams ? signals : [...signals, deadline]);
    for (let renewed = false; ; renewed = true) {
      try {
        const answer = call(this.#client, { abortSignal, requestTimeout });
        // Credentials are got without regard to the signal.
        return await (streams ? answer : settleOrAbort(answer, abortSignal));
      } catch (error) {
        signal?.throwIfAborted();
        const failure = new S3Failure(error);
        if (renewed || !(failure.isExpiredCredential || this.#mayHaveEnded(failure))) throw failure;
        await this.keys(true);
      }
    }
  }

  /**
   * The keys that requests are signed with.
   *
   * @param fresh Whether those that are kept will not do.
   * @throws {S3Failure}
   */
  async keys(fresh = false): Promise<S3Keys> {
    try {
      return await this.#keys.get(fresh);
    } catch (error) {
      throw new S3Failure(error);
    }
  }

  /** Whether a refusal without a reason is to be taken for one of the credentials; only once in a while. */
  #mayHaveEnded(failure: S3Failure): boolean {
    if (!failure.isUnexplainedRefusal || performance.now() < this.#suspectAgainAt) return false;
    this.#suspectAgainAt = performance.now() + suspicionMs;
    return true;
  }

  /** Milliseconds since 1970, as the server counts them, as far as its answers have shown. */
  now(): number {
    return Date.now() + this.#client.config.systemClockOffset;
  }

  /** Ends all connections, and what is under way. */
  close(): void {
    this.#closing.abort(new Error("the store was closed"));
    this.#client.destroy();
  }
}

function checksumsOf({ checksums, endpoint }: S3Options): "when_required" | "when_supported" {
  return checksums ?? (endpoint === undefined ? "when_supported" : "when_required");
}

function configurationOf(options: S3Options, keys: KeptKeys): S3ClientConfig {
  const { endpoint, region = endpoint === undefined ? undefined : "us-east-1" } = options;
  const maxSockets = options.maxSockets ?? defaultMaxSockets;
  return {
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    // They are kept already: the client would ask twice for each request when their end is near.
    credentials: Object.assign(() => keys.get(), { memoized: true }),
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    maxAttempts: (options.retries ?? defaultRetries) + 1,
    retryMode: "standard",
    requestChecksumCalculation: checksumsOf(options) === "when_required" ? "WHEN_REQUIRED" : "WHEN_SUPPORTED",
    // What is read is hashed by who reads it.
    responseChecksumValidation: "WHEN_REQUIRED",
    // It would open a connection for each part; and some servers never answer it.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: options.connectTimeoutMs ?? defaultConnectTimeoutMs,
      requestTimeout: options.requestTimeoutMs ?? defaultRequestTimeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets },
      httpsAgent: { keepAlive: true, maxSockets, ...trustOf(options) },
    },
  };
}

function trustOf({ caPem, insecureSkipVerify = false }: S3Options): AgentOptions {
  return {
    ...(caPem === undefined ? {} : { ca: [...getCACertificates("default"), caPem] }),
    ...(insecureSkipVerify ? { rejectUnauthorized: false } : {}),
  };
}

/**
 * The client hashes what it sends for the signature, in this thread, where 8 MiB take 30 ms. Under TLS the hash is left
 * out, as AWS's own clients do for streams; without TLS another thread makes it, of one body at a time: it has a copy.
 */
function signOffThread(client: S3): void {
  let hashing: Promise<unknown> = Promise.resolve();
  const hashOf = (body: Uint8Array): Promise<string> => {
    const hashed = hashing.then(() => crypto.subtle.digest("SHA-256", body as Uint8Array<ArrayBuffer>));
    hashing = hashed.catch(() => {});
    return hashed.then((hash) => Buffer.from(hash).toString("hex"));
  };
  client.middlewareStack.add(
    (next) => async (args) => {
      const { request } = args as { request: { protocol: string; headers: Record<string, string>; body?: unknown } };
      const { body } = request;
      if (body instanceof Uint8Array && body.length >= smallBodyBytes) {
        request.headers["x-amz-content-sha256"] =
          request.protocol === "https:" ? "UNSIGNED-PAYLOAD" : await hashOf(body);
      }
      return next(args);
    },
    { step: "build", name: "entrepotContentHash" },
  );
}
