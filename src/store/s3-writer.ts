import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { HeadObjectCommandOutput } from "@aws-sdk/client-s3";
import { type Condition, type Key, PreconditionFailed, StoreError, type Version } from "./object-store.ts";
import type { S3Connection } from "./s3-connection.ts";
import { S3Failure, storeErrorOf } from "./s3-failure.ts";
import type { S3Options } from "./s3-options.ts";

/** Names a write in the object's metadata, so that who lost its answer can see whether it was done. */
const nonceName = "entrepot-write";
/** How often a write is repeated that S3 could not decide on, and how long it waits at first. */
const conflictTries = 8;
const conflictRestMs = 10;

/** What an object is written with. */
export interface ObjectSettings {
  readonly ServerSideEncryption?: "AES256" | "aws:kms" | "aws:kms:dsse";
  readonly SSEKMSKeyId?: string;
  readonly StorageClass?: "STANDARD";
}

/** The headers of a condition. */
export interface ConditionHeaders {
  readonly IfNoneMatch?: "*";
  readonly IfMatch?: Version;
}

/** Writes whole objects to a bucket, each once, whatever becomes of the answers. */
export class S3Writer {
  readonly connection: S3Connection;
  readonly settings: ObjectSettings;
  readonly #prefix: string;
  /** Whether the server is known to let two writers win at once. */
  #doubtsWins = false;
  #refusesConditions = false;

  constructor(connection: S3Connection, options: S3Options) {
    this.connection = connection;
    const { prefix = "", serverSideEncryption, kmsKeyId, storageClass } = options;
    this.#prefix = prefix === "" ? "" : `${prefix}/`;
    this.settings = {
      ...(serverSideEncryption === undefined ? {} : { ServerSideEncryption: serverSideEncryption }),
      ...(kmsKeyId === undefined ? {} : { SSEKMSKeyId: kmsKeyId }),
      // The library's type names the classes that AWS has.
      ...(storageClass === undefined ? {} : { StorageClass: storageClass as "STANDARD" }),
    };
  }

  /** Whether the server is known to refuse requests with a condition. What has to be there is looked at before then. */
  get refusesConditions(): boolean {
    return this.#refusesConditions;
  }

  /** An object's key in the bucket. */
  nameOf(key: string): string {
    return `${this.#prefix}${key}`;
  }

  /** Where an object is, as requests say it. */
  at(key: Key): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.connection.place.bucket, Key: this.nameOf(key) };
  }

  /** From here on a conditional write has won only when the object is its own afterwards. */
  doubtWins(): void {
    this.#doubtsWins = true;
  }

  /**
   * Writes an object in one request.
   *
   * @throws {PreconditionFailed}
   * @throws {StoreError} it was not written.
   */
  async put(key: Key, body: Uint8Array, condition?: Condition, signal?: AbortSignal): Promise<Version> {
    const { nonce, metadata } = newNonce();
    const input = {
      ...this.at(key),
      Body: body,
      ContentLength: body.length,
      Metadata: metadata,
      ...this.settings,
    };
    const send = async (headers: ConditionHeaders): Promise<string | undefined> => {
      const sent = { signal, sentBytes: body.length };
      return (await this.connection.run((s3, options) => s3.putObject({ ...input, ...headers }, options), sent)).ETag;
    };
    return this.decide(key, nonce, condition, signal, async () => {
      try {
        if (condition === undefined || !this.#refusesConditions) return await send(headersOf(condition));
      } catch (error) {
        // It may be something else that is not implemented.
        if (condition === undefined || !(error instanceof S3Failure && error.status === 501)) throw error;
      }
      if (((await this.look(key))?.ETag ?? "absent") !== condition) throw new PreconditionFailed(key);
      const version = await send({});
      this.#refusesConditions = true;
      this.#doubtsWins = true;
      return version;
    });
  }

  /**
   * Does what makes an object appear, and finds out whether it did.
   *
   * @param nonce In the object's metadata, if it is the one.
   * @param write The request; its answer is the object's ETag.
   * @throws {PreconditionFailed}
   * @throws {StoreError} it was not written. Its cause is the `S3Failure`.
   */
  async decide(
    key: Key,
    nonce: string,
    condition: Condition | undefined,
    signal: AbortSignal | undefined,
    write: () => Promise<string | undefined>,
  ): Promise<Version> {
    for (let attempt = 1; ; attempt++) {
      try {
        const version = await write();
        if (version === undefined) throw new StoreError(`the server gave no ETag for ${key}`, undefined);
        if (condition !== undefined && this.#doubtsWins && (await this.find(key, nonce)) === undefined) {
          throw new PreconditionFailed(key);
        }
        return version as Version;
      } catch (error) {
        if (!(error instanceof S3Failure)) throw error;
        // What the client repeated after a lost answer is refused for its own success.
        const version = mayBeDone(error) ? await this.find(key, nonce).catch(() => undefined) : undefined;
        if (version !== undefined) return version;
        if (condition !== undefined && (error.isRefusedCondition || error.isAbsence)) throw new PreconditionFailed(key);
        if (!error.isUndecidedConflict || attempt === conflictTries) throw this.error(`could not write ${key}`, error);
        await sleep(conflictRestMs * 2 ** attempt * Math.random(), undefined, { signal });
      }
    }
  }

  /**
   * The object's version, where it was written under this nonce.
   *
   * @throws {S3Failure}
   */
  async find(key: Key, nonce: string): Promise<Version | undefined> {
    const found = await this.look(key);
    return found?.Metadata?.[nonceName] === nonce ? (found.ETag as Version | undefined) : undefined;
  }

  /**
   * What a HEAD tells of an object; `undefined` where there is none.
   *
   * @throws {S3Failure}
   */
  async look(key: Key): Promise<HeadObjectCommandOutput | undefined> {
    try {
      return await this.connection.run((s3, options) => s3.headObject(this.at(key), options));
    } catch (error) {
      if (error instanceof S3Failure && error.isAbsence) return undefined;
      throw error;
    }
  }

  error(action: string, failure: S3Failure): StoreError {
    return storeErrorOf(action, this.connection.place, failure);
  }
}

/** A name for a write, and the metadata that says it. */
export function newNonce(): { readonly nonce: string; readonly metadata: Record<string, string> } {
  const nonce = randomUUID();
  return { nonce, metadata: { [nonceName]: nonce } };
}

export function headersOf(condition: Condition | undefined): ConditionHeaders {
  if (condition === undefined) return {};
  return condition === "absent" ? { IfNoneMatch: "*" } : { IfMatch: condition };
}

function mayBeDone(failure: S3Failure): boolean {
  return (
    failure.isLostAnswer || failure.isRefusedCondition || failure.isUndecidedConflict || failure.code === "NoSuchUpload"
  );
}
