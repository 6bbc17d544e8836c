import * as z from "zod";
import { ValueError } from "./config-error.ts";
import { addProblem } from "./credential-schema.ts";
import {
  finiteSize,
  formatShare,
  intervalOrNever,
  rate,
  share,
  sizeLimit,
  sizeLimitOrNone,
  sizeOrNone,
  text,
} from "./fields.ts";
import { parsePinPattern } from "./pin-pattern.ts";
import type { StorageConfig, VerifyConfig } from "./schema.ts";

function parseRoot(value: string): string {
  if (value === "" || value.includes("\0")) {
    throw new ValueError("expected a folder's path");
  }
  return value;
}

/** The schema of `storage`. */
export const storageSchema: z.ZodType<StorageConfig> = z
  .strictObject({
    type: z
      .literal("filesystem", {
        error: (issue) =>
          issue.input === "s3" ? 'S3 storage is not in this version; use "filesystem"' : 'expected "filesystem"',
      })
      .prefault("filesystem")
      .meta({ description: "Where the content is kept. This version has `filesystem` only." }),
    root: text(parseRoot).prefault("./data").meta({
      description:
        "The folder of the content; it is made when it is missing. A relative path starts at the working directory, not at the file.",
    }),
    max_size: sizeLimitOrNone(
      "What all that lies in the folder may take, the ledger included: a size, or a share of the volume's size. Content that was not used for longest is evicted before it takes more. `none` or null for no limit.",
    ).prefault("90%"),
    min_free: sizeLimit(
      "What is left free on the volume, whoever fills it: a size, or a share of the volume's size; `0B` for nothing. Where less is free, content is evicted.",
    ).prefault("5%"),
    high_watermark: share("The share of `max_size` at which eviction begins.").prefault("95%"),
    low_watermark: share("The share of `max_size` down to which content is evicted; below `high_watermark`.").prefault(
      "90%",
    ),
    max_object_size: sizeOrNone(
      "Larger blobs are passed on to clients without being stored. `none` or null for no limit.",
    ).prefault("none"),
    pin: z.array(text(parsePinPattern)).prefault([]).meta({
      description:
        "What is never evicted: patterns of the form `<namespace>/<repository>[:<tag>|@<digest>]`, such as `docker.io/library/*:lts` or `registry.k8s.io/**`. `*` stands for anything within one part, in the tag too, and `**` for any number of parts. Without tag or digest it is all that the repository holds.",
    }),
  })
  .transform((keys, context): StorageConfig => {
    const { high_watermark: high, low_watermark: low } = keys;
    if (low === 0) {
      addProblem(context, { path: ["low_watermark"], message: "must be more than 0%" });
    } else if (low >= high) {
      const message = `must be more than low_watermark, which is ${formatShare(low)}; got "${formatShare(high)}"`;
      addProblem(context, { path: ["high_watermark"], message });
    }
    return {
      type: keys.type,
      root: keys.root,
      maxSize: keys.max_size,
      minFree: keys.min_free,
      highWatermark: high,
      lowWatermark: low,
      maxObjectBytes: finiteSize(keys.max_object_size),
      pins: keys.pin,
    };
  });

/** The schema of `verify`. */
export const verifySchema: z.ZodType<VerifyConfig> = z
  .strictObject({
    interval: intervalOrNever(
      "The time from one pass over all that is stored to the next: a duration, or `never`.",
    ).prefault("7d"),
    rate: rate("How much a pass reads in a second.").prefault("50MiB/s"),
  })
  .transform((keys) => ({ intervalMs: keys.interval, bytesPerSecond: keys.rate }));
