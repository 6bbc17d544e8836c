import { parsePin, PinError } from "../oci/pin.ts";
import { bucket, missingBucket } from "./bucket-schema.ts";
import { ValueError } from "./config-error.ts";
import {
  choice,
  fitting,
  formatShare,
  intervalOrNever,
  list,
  rate,
  share,
  sizeLimit,
  sizeLimitOrNone,
  sizeOrNone,
  text,
} from "./fields.ts";
import { type Kind, optional, section, setting, type StorageType, type Values } from "./setting.ts";

function parsePinPattern(value: string): string {
  try {
    return parsePin(value).pattern;
  } catch (error) {
    throw error instanceof PinError ? new ValueError(error.message) : error;
  }
}

const types: readonly StorageType[] = ["filesystem", "s3"];

const settings = {
  type: setting("type", choice(types), "filesystem").about(
    "Where the content is kept: in a folder (`filesystem`), or in a folder with a bucket behind it that several instances may share (`s3`).",
  ),
  root: setting("root", text(fitting(/^[^\0]+$/, "expected a folder's path")), "./data")
    .about(
      "The folder of the content; it is made when it is missing. A relative path starts at the working directory, not at the file.",
    )
    .flag("--root <folder>", "folder of the content; made when it is missing", {
      commands: ["filesystem", "s3"],
    }),
  maxSize: setting("max_size", sizeLimitOrNone, "90%")
    .about(
      "What all that lies in the folder may take, the ledger included: a size, or a share of the volume's size. Content that was not used for longest is evicted before it takes more. `none` or null for no limit.",
    )
    .flag("--max-size <size>", "what the content may take: 500GiB, a share of the volume, or none for no limit"),
  minFree: setting("min_free", sizeLimit, "5%")
    .about(
      "What is left free on the volume, whoever fills it: a size, or a share of the volume's size; `0B` for nothing. Where less is free, content is evicted.",
    )
    .flag("--min-free <size>", "what is left free on the volume: 50GiB, or a share of it"),
  /** Above `lowWatermark`. */
  highWatermark: setting("high_watermark", share, "95%").about("The share of `max_size` at which eviction begins."),
  /** Above 0. */
  lowWatermark: setting("low_watermark", share, "90%").about(
    "The share of `max_size` down to which content is evicted; below `high_watermark`.",
  ),
  maxObjectBytes: setting("max_object_size", sizeOrNone, "none")
    .about("Larger blobs are passed on to clients without being stored. `none` or null for no limit.")
    .flag("--max-object-size <size>", "larger blobs are passed on without being stored"),
  pins: setting("pin", list(text(parsePinPattern)), []).about(
    "What is never evicted: patterns of the form `<namespace>/<repository>[:<tag>|@<digest>]`, such as `docker.io/library/*:lts` or `registry.k8s.io/**`. `*` stands for anything within one part, in the tag too, and `**` for any number of parts. Without tag or digest it is all that the repository holds.",
  ),
  s3: optional("s3", bucket).about(
    "The bucket, with `type: s3`. What is written to the folder is copied there; what the folder does not have is looked for there before the upstream is asked. Null for none.",
  ),
};

/** Where the content is kept, and how much of it. */
export interface StorageConfig extends Values<typeof settings> {}

/** The mapping `storage`. */
export const storage: Kind<StorageConfig> = section(
  settings,
  ({ highWatermark: high, lowWatermark: low, type, s3 }, report) => {
    if (type === "s3" && s3 === undefined) {
      report({ ...missingBucket, path: ["s3", ...missingBucket.path] });
    } else if (type === "filesystem" && s3 !== undefined) {
      report({ path: ["s3"], message: "needs `type: s3`, or the command `s3`; else there is no bucket" });
    }
    if (low === 0) {
      report({ path: ["low_watermark"], message: "must be more than 0%" });
    } else if (low >= high) {
      const message = `must be more than low_watermark, which is ${formatShare(low)}; got "${formatShare(high)}"`;
      report({ path: ["high_watermark"], message });
    }
  },
);

const verifySettings = {
  intervalMs: setting("interval", intervalOrNever, "7d").about(
    "The time from one pass over all that is stored to the next: a duration, or `never`.",
  ),
  bytesPerSecond: setting("rate", rate, "50MiB/s").about("How much a pass reads in a second."),
};

/** The mapping `verify`. */
export const verify: Kind<Values<typeof verifySettings>> = section(verifySettings);
