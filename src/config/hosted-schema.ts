import { maxManifestBytes } from "../oci/manifest.ts";
import { NamePattern } from "../oci/name-pattern.ts";
import { parseCanonicalNamespace } from "./address.ts";
import { ValueError } from "./config-error.ts";
import { count, interval, intervalOrNever, list, pattern, sizeOrNone, sizeWithin, text, yesOrNo } from "./fields.ts";
import { parseRepositoryPattern } from "./repository-names.ts";
import { type Kind, optional, required, section, setting, type Values } from "./setting.ts";
import { serverNames } from "./upstream-schema.ts";

const minute = 60_000;

function parseTagPattern(value: string): NamePattern {
  if (!/^[\w.*-]{1,128}$/.test(value)) {
    throw new ValueError(`expected a tag or a pattern such as v* or release-*, got ${JSON.stringify(value)}`);
  }
  return new NamePattern(value);
}

const deleteSettings = {
  tags: setting("tags", yesOrNo, true).about("Whether tags can be deleted; their manifests stay."),
  manifests: setting("manifests", yesOrNo, true).about(
    "Whether manifests can be deleted, with the tags that stand for them.",
  ),
  blobs: setting("blobs", yesOrNo, true).about("Whether blobs can be deleted."),
};

const retentionSettings = {
  repositories: optional("repositories", list(pattern(parseRepositoryPattern))).about(
    "The repositories that the rule is for; null for all.",
  ),
  tags: optional("tags", list(pattern(parseTagPattern))).about("The tags that the rule is for; null for all."),
  keepLast: optional("keep_last", count(1, 100_000)).about(
    "How many of a repository's tags that the rule is for are kept, those that were pushed last. Null where that keeps none.",
  ),
  keepWithinMs: optional("keep_within", interval).about(
    "How long after they were pushed they are kept in any case. Null where that keeps none.",
  ),
};

const retention: Kind<Values<typeof retentionSettings>> = section(retentionSettings, (rule, report) => {
  if (rule.keepLast === undefined && rule.keepWithinMs === undefined) {
    report({ path: [], message: "needs keep_last or keep_within: without, it would remove every tag that it is for" });
  }
});

const settings = {
  namespace: required("namespace", text(parseCanonicalNamespace)).about(
    "The first part of the path by which clients know it: with `apps` an image is `mirror.example.com/apps/team/web:1`.",
  ),
  fallback: optional("fallback", text(parseCanonicalNamespace)).about(
    "The namespace of a mirror that is asked for what was not pushed here: what is pushed stands before what the mirror has under the same name. Null for none.",
  ),
  repositories: optional("repositories", list(pattern(parseRepositoryPattern))).about(
    "The only repositories that can be pushed to; null for all. `*` stands for anything within a part of the name, `**` for anything.",
  ),
  immutableTags: setting("immutable_tags", list(pattern(parseTagPattern)), []).about(
    "Tags that stand for ever for what they were first pushed with: patterns such as `v*`. The same manifest can be pushed again; such a tag cannot be deleted.",
  ),
  sparseManifests: setting("sparse_manifests", yesOrNo, false).about(
    "Whether a manifest is taken of which not all is here: an index of which only some platforms were copied, or an image whose layers come later or never.",
  ),
  deletes: setting("delete", section(deleteSettings), {}).about("What clients can delete."),
  retention: setting("retention", list(retention), []).about(
    "Tags that are removed when they are old: those that a rule is for, and that none of the rules that are for them keeps. Null or an empty list for none.",
  ),
  maxManifestBytes: setting("max_manifest_size", sizeWithin(1, maxManifestBytes), "4MiB").about(
    "The largest manifest that is taken.",
  ),
  maxChunkBytes: setting("max_chunk_size", sizeOrNone, "none").about(
    "The largest chunk of an upload that is taken; a blob that comes in one request is one chunk. `none` or null for no limit.",
  ),
  maxBlobBytes: setting("max_blob_size", sizeOrNone, "none").about(
    "The largest blob that is taken. `none` or null for no limit.",
  ),
  quotaBytes: setting("quota", sizeOrNone, "none").about(
    "What the namespace may hold; a blob counts in each repository that has it. `none` or null for no limit but the storage's.",
  ),
  expiryMs: setting("upload_expiry", interval, "1d").about(
    "How long after its last byte an unfinished upload can be gone on with. After that it is removed.",
  ),
  serverNames,
};

/** One namespace of what is hosted. */
export interface HostedConfig extends Values<typeof settings> {}

/** One entry of `hosted`. */
export const hosted: Kind<HostedConfig> = section(settings, ({ namespace, repositories }, report) => {
  for (const [index, { text: written }] of (repositories ?? []).entries()) {
    if (!written.startsWith(`${namespace}/`)) continue;
    const message = `leave the namespace out: write "${written.slice(namespace.length + 1)}"`;
    report({ path: ["repositories", index], message });
  }
});

const collectionSettings = {
  intervalMs: setting("interval", intervalOrNever, "1d").about(
    "The time from one pass to the next: a duration, or `never`.",
  ),
  graceMs: setting("grace", interval, "2h").about(
    "How long what nothing refers to is left alone: a push has to be complete within half of that time after its first blob.",
  ),
};

/** How what is hosted is kept in order. */
export interface CollectionConfig extends Values<typeof collectionSettings> {}

/** The mapping `collection`. */
export const collection: Kind<CollectionConfig> = section(collectionSettings, ({ graceMs }, report) => {
  if (graceMs < 10 * minute) report({ path: ["grace"], message: "must be at least 10m" });
});
