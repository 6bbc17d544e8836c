import type { Clock } from "../concurrency/clock.ts";
import { bucketConnection, type BucketConnection } from "../config/bucket-schema.ts";
import { ConfigError } from "../config/config-error.ts";
import type { Config } from "../config/file-schema.ts";
import type { LayoutConfig } from "../config/layout-schema.ts";
import { explainReading } from "../config/named-files.ts";
import type { LayoutFiles } from "../layout/files.ts";
import type { Layouts } from "../layout/layouts.ts";
import type { Namespace } from "../oci/reference.ts";
import type { Registry } from "../registry/registry.ts";
import type { BufferPool } from "../store/buffers.ts";
import type { HashPool } from "../store/hashing.ts";
import type { Key } from "../store/object-store.ts";
import { openBucketStore } from "./bucket-store.ts";
import type { Observers } from "./observers.ts";

/** The namespaces of image layouts. */
export interface OpenLayouts {
  readonly registries: ReadonlyMap<Namespace, Registry>;
  /** Ends looking at the sources. */
  close(): Promise<void>;
}

/** What a source is read with. */
export interface LayoutSourceFiles {
  readonly files: LayoutFiles;
  /** A URL at which anybody can have an object for a while, where it lies in a bucket. */
  readonly presign?: (key: Key) => Promise<string>;
  close(): Promise<void>;
}

/** How long a URL may be used to begin reading a blob, in seconds. */
const signedSeconds = 5 * 60;
/** A source that is only read writes no parts. */
const writesNothing = {
  serverSideEncryption: undefined,
  kmsKeyId: undefined,
  storageClass: undefined,
  partSizeBytes: 8 * 1024 * 1024,
  checksums: undefined,
};

/**
 * Opens the sources of all namespaces of layouts. Nothing of them is looked at; where there are none, nothing of this is
 * loaded.
 *
 * @throws {ConfigError} a folder is not there, or is the storage's own.
 */
export async function openLayouts(
  config: Config,
  { hashes, pool }: { readonly hashes: HashPool; readonly pool: BufferPool },
  { clock, observers }: { readonly clock: Clock; readonly observers: Observers },
): Promise<OpenLayouts> {
  const registries = new Map<Namespace, Registry>();
  const opened: { close(): Promise<void> }[] = [];
  const close = async (): Promise<void> => {
    for (const each of opened.toReversed()) await each.close();
  };
  if (config.layouts.length === 0) return { registries, close };
  const { Layouts: Opened } = await import("../layout/layouts.ts");
  try {
    for (const [index, settings] of config.layouts.entries()) {
      const { namespace, namePrefix: prefix, refreshMs, redirect } = settings;
      const source = await openLayoutSource(settings, config, pool, `layouts[${index}].source`);
      opened.push(source);
      const layouts: Layouts = new Opened({
        files: source.files,
        naming: { namespace, prefix },
        refreshMs,
        hashes,
        clock,
        observer: observers.layouts(namespace),
        presign: redirect ? source.presign : undefined,
      });
      opened.push(layouts);
      registries.set(namespace, layouts.registry());
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { registries, close };
}

/**
 * Opens the source of layouts. Who opens it closes it.
 *
 * @param key Where it is named, for messages: `layouts[0].source`.
 * @throws {ConfigError} a folder is not there, or is the storage's own.
 */
export async function openLayoutSource(
  { source, s3 }: Pick<LayoutConfig, "source" | "s3">,
  { storage }: Pick<Config, "storage">,
  pool: BufferPool,
  key: string,
): Promise<LayoutSourceFiles> {
  if (source.kind === "bucket") {
    const { bucket, prefix } = source;
    // Where nothing is set, what holds without a setting.
    const connection: BucketConnection = s3 ?? storage.s3 ?? bucketConnection.schema.parse({});
    const store = await openBucketStore(
      { ...writesNothing, ...connection, bucket, prefix },
      key.replace(/source$/, "s3"),
    );
    return {
      files: store,
      presign: (name) => store.presign(name, { expiresInSeconds: signedSeconds }),
      close: () => store.close(),
    };
  }
  const { ForeignFolder } = await import("../store/foreign-folder.ts");
  let files;
  try {
    files = await ForeignFolder.open(source.path, pool);
  } catch (error) {
    throw new ConfigError([`${key}: ${source.path} cannot be used: ${explainReading(error)}`]);
  }
  if (await files.meets(storage.root)) {
    throw new ConfigError([
      `${key}: ${source.path} cannot be used: it is the storage's folder, or one is in the other`,
    ]);
  }
  return { files, close: async () => undefined };
}
