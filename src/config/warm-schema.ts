import { OciError } from "../oci/errors.ts";
import { formatImageReference, type ImageReference, parseImageReference } from "../oci/image-reference.ts";
import { formatPlatform, parsePlatform, type Platform } from "../oci/platform.ts";
import { ValueError } from "./config-error.ts";
import { count, interval, list, parseFilePath, text } from "./fields.ts";
import { type Kind, optional, section, setting, type Values } from "./setting.ts";

const platform: Kind<Platform> = text(
  (value) => {
    const read = readForm(value, parsePlatform, platformForm);
    // In capital letters it is read, but not as it is written.
    if (formatPlatform(read) !== value) throw wrongForm(value, platformForm);
    return read;
  },
  { show: formatPlatform },
);
const platformForm = "a platform such as linux/amd64 or linux/arm/v7";

const image: Kind<ImageReference> = text(
  (value) => readForm(value, parseImageReference, "an image such as alpine:3 or quay.io/team/app:1.2"),
  { show: formatImageReference },
);

function readForm<T>(value: string, parse: (text: string) => T, form: string): T {
  try {
    return parse(value);
  } catch (error) {
    throw error instanceof OciError ? wrongForm(value, form) : error;
  }
}

function wrongForm(value: string, form: string): ValueError {
  return new ValueError(`expected ${form}, got ${JSON.stringify(value)}`);
}

const settings = {
  images: setting("images", list(image), []).about(
    "The images, as Docker names them: `alpine:3`, `quay.io/team/app:1.2`, `ghcr.io/team/app@sha256:…`. Without tag or digest, `latest`.",
  ),
  file: optional("file", text(parseFilePath)).about(
    "A file with more of them, one a line; `#` begins a comment. Null for none.",
  ),
  platforms: setting("platforms", list(platform), []).about(
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
