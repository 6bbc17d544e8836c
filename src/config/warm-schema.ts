import { OciError } from "../oci/errors.ts";
import { parseImageReference } from "../oci/image-reference.ts";
import { formatPlatform, parsePlatform } from "../oci/platform.ts";
import { ValueError } from "./config-error.ts";
import { count, interval, list, parseFilePath, text } from "./fields.ts";
import { type Kind, optional, section, setting, type Values } from "./setting.ts";

/**
 * Looks at a platform: `os/arch[/variant]`.
 *
 * @throws {ValueError}
 */
export function checkPlatform(value: string): string {
  return checkForm(
    value,
    (text) => formatPlatform(parsePlatform(text)) === text,
    "a platform such as linux/amd64 or linux/arm/v7",
  );
}

function checkImage(value: string): string {
  return checkForm(
    value,
    (text) => parseImageReference(text) !== undefined,
    "an image such as alpine:3 or quay.io/team/app:1.2",
  );
}

/** The texts are kept as they are; the program reads them when it warms. */
function checkForm(value: string, isRight: (text: string) => boolean, expected: string): string {
  try {
    if (isRight(value)) return value;
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
  }
  throw new ValueError(`expected ${expected}, got ${JSON.stringify(value)}`);
}

const settings = {
  images: setting("images", list(text(checkImage)), []).about(
    "The images, as Docker names them: `alpine:3`, `quay.io/team/app:1.2`, `ghcr.io/team/app@sha256:…`. Without tag or digest, `latest`.",
  ),
  file: optional("file", text(parseFilePath)).about(
    "A file with more of them, one a line; `#` begins a comment. Null for none.",
  ),
  platforms: setting("platforms", list(text(checkPlatform)), []).about(
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
