import * as z from "zod";
import { ValueError } from "./config-error.ts";
import { count, interval, parseFilePath, text } from "./fields.ts";
import type { WarmConfig } from "./schema.ts";

const platformGrammar = /^[a-z0-9_.-]+\/[a-z0-9_.-]+(?:\/[a-z0-9_.-]+)?$/;
const imageGrammar =
  /^(?:[a-zA-Z0-9.-]+(?::\d{1,5})?\/|\[[0-9a-fA-F:.]+\](?::\d{1,5})?\/)?[a-z0-9._-]+(?:\/[a-z0-9._-]+)*(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?$/;

/**
 * Reads a platform: `os/arch[/variant]`.
 *
 * @throws {ValueError}
 */
export function parsePlatform(value: string): string {
  if (!platformGrammar.test(value)) {
    throw new ValueError(`expected a platform such as linux/amd64 or linux/arm/v7, got ${JSON.stringify(value)}`);
  }
  return value;
}

/** Looks only at the form of a reference; what it names is found out when it is pulled. */
function checkImage(value: string): string {
  if (!imageGrammar.test(value) || value.length > 512) {
    throw new ValueError(`expected an image such as alpine:3 or quay.io/team/app:1.2, got ${JSON.stringify(value)}`);
  }
  return value;
}

/** The schema of `warm`. */
export const warmSchema: z.ZodType<WarmConfig> = z
  .strictObject({
    images: z.array(text(checkImage)).prefault([]).meta({
      description:
        "The images, as Docker names them: `alpine:3`, `quay.io/team/app:1.2`, `ghcr.io/team/app@sha256:…`. Without tag or digest, `latest`.",
    }),
    file: text(parseFilePath).nullable().optional().meta({
      description: "A file with more of them, one a line; `#` begins a comment. Null for none.",
    }),
    platforms: z.array(text(parsePlatform)).prefault([]).meta({
      description:
        "The platforms that are pulled of an image that has several: `linux/amd64`, `linux/arm/v7`. An empty list is all that it has.",
    }),
    interval: interval("The time from one pass to the next.").prefault("6h"),
    parallel: count(
      "How many images are pulled at a time, and how many manifests and blobs of all of them together.",
      1,
      64,
    ).prefault(4),
  })
  .transform(({ images, file, platforms, interval: intervalMs, parallel }) => {
    return { images, file: file ?? undefined, platforms, intervalMs, parallel };
  });
