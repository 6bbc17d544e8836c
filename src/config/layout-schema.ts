import { isRepository, type Repository } from "../oci/reference.ts";
import { parseCanonicalNamespace } from "./address.ts";
import { bucketConnection, parseBucketName, parsePrefix } from "./bucket-schema.ts";
import { ValueError } from "./config-error.ts";
import { interval, text, yesOrNo } from "./fields.ts";
import { type Kind, optional, required, section, setting, type Values } from "./setting.ts";
import { serverNames } from "./upstream-schema.ts";

/** Where layouts lie. */
export type LayoutSource =
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "bucket"; readonly bucket: string; readonly prefix: string | undefined };

/** Reads a source: a folder's path, or `s3://<bucket>[/<prefix>]`. @throws {ValueError} */
export function parseLayoutSource(value: string): LayoutSource {
  const [, scheme, rest = ""] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(value) ?? [];
  if (scheme === undefined) {
    if (value === "" || value.includes("\0"))
      throw new ValueError("expected a folder's path, or s3://<bucket>/<prefix>");
    return { kind: "folder", path: value };
  }
  if (scheme.toLowerCase() !== "s3") {
    throw new ValueError(`expected a folder's path, or s3://<bucket>/<prefix>, got ${scheme}://`);
  }
  const [bucket = "", ...parts] = rest.replace(/\/+$/, "").split("/");
  const prefix = parts.join("/");
  return {
    kind: "bucket",
    bucket: parseBucketName(bucket),
    prefix: prefix === "" ? undefined : parsePrefix(prefix),
  };
}

/** Writes a source as `parseLayoutSource` reads it. */
export function formatLayoutSource(source: LayoutSource): string {
  if (source.kind === "folder") return source.path;
  return `s3://${source.bucket}${source.prefix === undefined ? "" : `/${source.prefix}`}`;
}

function parseNamePrefix(value: string): Repository {
  if (isRepository(value)) return value;
  throw new ValueError(
    `expected lower-case letters, digits and separators, in parts joined by /, such as team/images; got ${JSON.stringify(value)}`,
  );
}

const settings = {
  namespace: required("namespace", text(parseCanonicalNamespace)).about(
    "The first part of the path by which clients know it: with `images` an image is `mirror.example.com/images/team/web:1`.",
  ),
  source: required("source", text(parseLayoutSource, { show: formatLayoutSource })).about(
    "Where the images lie: a folder's path, or `s3://<bucket>/<prefix>`. It is only read.",
  ),
  namePrefix: optional("name_prefix", text(parseNamePrefix)).about(
    "What stands before the name of each repository, with a slash between. Null for nothing.",
  ),
  refreshMs: setting("refresh", interval, "10s").about(
    "How long what was found counts, before what changed is looked for again. What is asked for and was not found is looked for at once.",
  ),
  redirect: setting("redirect", yesOrNo, false).about(
    "Whether clients are sent to the bucket for blobs, by a URL that is signed for five minutes. They must be able to reach it, and check what they get.",
  ),
  s3: optional("s3", bucketConnection).about(
    "How the bucket is spoken to. Null for the settings of `storage.s3` where there are any, and else those of AWS's own environment.",
  ),
  serverNames,
};

/** One namespace of image layouts. */
export interface LayoutConfig extends Values<typeof settings> {}

/** One entry of `layouts`. */
export const layout: Kind<LayoutConfig> = section(settings, ({ source, redirect, s3 }, report) => {
  if (source.kind === "bucket") return;
  const needed = "needs a bucket as `source`, as in s3://images/team";
  if (redirect) report({ path: ["redirect"], message: needed });
  if (s3 !== undefined) report({ path: ["s3"], message: needed });
});
