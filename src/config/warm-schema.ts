import { ValueError } from "./config-error.ts";
import { count, interval, list, parseFilePath, text } from "./fields.ts";
import { type Kind, optional, section, setting, type Values } from "./setting.ts";

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

const settings = {
  images: setting("images", list(text(checkImage)), []).about(
    "The images, as Docker names them: `alpine:3`, `quay.io/team/app:1.2`, `ghcr.io/team/app@sha256:…`. Without tag or digest, `latest`.",
  ),
  file: optional("file", text(parseFilePath)).about(
    "A file with more of them, one a line; `#` begins a comment. Null for none.",
  ),
  platforms: setting("platforms", list(text(parsePlatform)), []).about(
    "The platforms that are pulled of an image that has several: `linux/amd64`, `linux/arm/v7`. An empty list is all that it has.",
  ),
  intervalMs: setting("interval", interval, "6h").about("The time from one pass to the next."),
  parallel: setting("parallel", count(1, 64), 4).about(
    "How many images are pulled at a time, and how many manifests and blobs of all of them together.",
  ),
};

/** The images that are pulled into the cache on a schedule. */
export interface WarmConfig extends Values<typeof settings> {}

/** The mapping `warm`. */
export const warm: Kind<WarmConfig> = section(settings);
