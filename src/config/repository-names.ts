import { isRepositoryPattern, NamePattern } from "../oci/name-pattern.ts";
import { isRepository, type Repository } from "../oci/reference.ts";
import { ValueError } from "./config-error.ts";

/**
 * Reads the name of a project that repositories are in.
 *
 * @throws {ValueError}
 */
export function parsePathPrefix(text: string): Repository {
  const trimmed = text.replaceAll(/^\/+|\/+$/g, "");
  if (trimmed !== text && isRepository(trimmed)) {
    throw new ValueError(`expected a project's name without slashes at its ends: write "${trimmed}"`);
  }
  if (!isRepository(text)) {
    throw new ValueError(`expected a project's name such as cache or team/cache, got ${JSON.stringify(text)}`);
  }
  return text;
}

/**
 * Reads a pattern of repositories, in which `*` stands for anything within a part of the name, and `**` for anything.
 *
 * @throws {ValueError}
 */
export function parseRepositoryPattern(text: string): NamePattern {
  if (!isRepositoryPattern(text)) {
    const lower = text.toLowerCase();
    const hint = lower !== text && isRepositoryPattern(lower) ? "; names of repositories have no capital letters" : "";
    throw new ValueError(`expected a repository's name or a pattern such as library/* or team/**${hint}`);
  }
  return new NamePattern(text);
}
