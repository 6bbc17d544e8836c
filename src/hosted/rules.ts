import type { Digest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import type { NamePattern } from "../oci/name-pattern.ts";
import type { Repository, Tag } from "../oci/reference.ts";
import type { UploadLimits } from "./uploads.ts";

/** What may be done in a hosted namespace. */
export interface HostedRules extends UploadLimits {
  readonly maxManifestBytes: number;
  /** What the namespace may hold, in bytes; a blob counts in each repository that has it. */
  readonly quotaBytes: number;
  /** Repositories that can be pushed to; `undefined`: all. */
  readonly repositories: readonly NamePattern[] | undefined;
  /** Tags that stand for ever for what they were pushed with. */
  readonly immutableTags: readonly NamePattern[];
  /** Whether a manifest may refer to what is not here. */
  readonly sparseManifests: boolean;
  readonly deletes: { readonly tags: boolean; readonly manifests: boolean; readonly blobs: boolean };
}

/** @throws {OciError} DENIED: the repository is none that can be pushed to. */
export function assertPushable({ repositories }: HostedRules, repository: Repository): void {
  if (repositories === undefined || repositories.some((pattern) => pattern.matches(repository))) return;
  const allowed = repositories.map(({ text }) => text).join(", ");
  throw new OciError("DENIED", `${repository} cannot be pushed to: this namespace takes repositories named ${allowed}`);
}

/** @throws {OciError} UNSUPPORTED: such things are not deleted here. */
export function assertDeletable({ deletes }: HostedRules, kind: keyof HostedRules["deletes"]): void {
  if (deletes[kind]) return;
  throw new OciError("UNSUPPORTED", `${kind} cannot be deleted in this namespace (delete.${kind} is false)`);
}

/**
 * @param next What the tag is to stand for; `undefined`: nothing any more.
 * @throws {OciError} CONFLICT: the tag stands for something else, and for ever.
 */
export function assertMovable(
  rules: HostedRules,
  tag: Tag,
  current: Digest | undefined,
  next: Digest | undefined,
): void {
  if (current === undefined || current === next || !isImmutable(rules, tag)) return;
  const wish = next === undefined ? "cannot be deleted" : "cannot stand for another manifest";
  throw new OciError("CONFLICT", `the tag ${tag} is immutable in this namespace (immutable_tags): it ${wish}`);
}

/** Whether a tag stands for ever for what it was pushed with. */
export function isImmutable({ immutableTags }: HostedRules, tag: Tag): boolean {
  return immutableTags.some((pattern) => pattern.matches(tag));
}
