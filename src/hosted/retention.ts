import type { NamePattern } from "../oci/name-pattern.ts";
import type { Repository, Tag } from "../oci/reference.ts";

/** A rule of which tags go. */
export interface RetentionRule {
  /** The repositories and the tags that it is for; `undefined`: all. */
  readonly repositories: readonly NamePattern[] | undefined;
  readonly tags: readonly NamePattern[] | undefined;
  /** How many of a repository's tags that it is for it keeps: those that were pushed last, of equal ones by name. */
  readonly keepLast: number | undefined;
  /** How long after they were pushed it keeps them, in milliseconds. */
  readonly keepWithinMs: number | undefined;
}

/** A tag, and when it was set to what it stands for, in milliseconds since 1970. */
export interface TagPush {
  readonly tag: Tag;
  readonly pushedAt: number;
}

/** What becomes of a tag that a rule is for. */
export interface TagVerdict extends TagPush {
  readonly goes: boolean;
  /** Why, for people. */
  readonly reason: string;
}

/** What retention goes by besides its rules. */
export interface RetentionTerms {
  /** Milliseconds since 1970, by the clock of `pushedAt`. */
  readonly now: number;
  /** Why a tag stays whatever the rules say: it is immutable, or pinned. */
  readonly protection: (tag: Tag) => string | undefined;
}

/**
 * What becomes of a repository's tags: one goes when a rule is for it, none of the rules that are for it keeps it, and it
 * is neither immutable nor pinned. Tags that no rule is for are left out. A rule that keeps the last counts also those
 * that stay for other reasons.
 */
export function planRetention(
  repository: Repository,
  tags: readonly TagPush[],
  rules: readonly RetentionRule[],
  { now, protection }: RetentionTerms,
): TagVerdict[] {
  const newestFirst = tags.toSorted((a, b) => b.pushedAt - a.pushedAt || (a.tag < b.tag ? -1 : 1));
  const reasons = new Map<Tag, string | undefined>();
  for (const { repositories, tags: patterns, keepLast = 0, keepWithinMs = 0 } of rules) {
    if (!matches(repositories, repository)) continue;
    const meant = newestFirst.filter(({ tag }) => matches(patterns, tag));
    for (const [index, { tag, pushedAt }] of meant.entries()) {
      const byCount = index < keepLast ? `one of the last ${keepLast}` : undefined;
      const byAge = now - pushedAt < keepWithinMs ? "young enough" : undefined;
      reasons.set(tag, reasons.get(tag) ?? byCount ?? byAge);
    }
  }
  return newestFirst
    .filter(({ tag }) => reasons.has(tag))
    .map(({ tag, pushedAt }) => {
      const keeps = protection(tag) ?? reasons.get(tag);
      const reason = keeps ?? `pushed ${new Date(pushedAt).toISOString()}, and no rule keeps it`;
      return { tag, pushedAt, goes: keeps === undefined, reason };
    });
}

function matches(patterns: readonly NamePattern[] | undefined, name: string): boolean {
  return patterns === undefined || patterns.some((pattern) => pattern.matches(name));
}
