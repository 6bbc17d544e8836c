import { ValueError } from "./config-error.ts";

const component = "[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*";
const repository = new RegExp(`^${component}(?:/${component})*$`);
const pattern = /^[a-z0-9._*-]+(?:\/[a-z0-9._*-]+)*$/;

/**
 * Reads the name of a project that repositories are in.
 *
 * @throws {ValueError}
 */
export function parsePathPrefix(text: string): string {
  const trimmed = text.replaceAll(/^\/+|\/+$/g, "");
  if (trimmed !== text && repository.test(trimmed)) {
    throw new ValueError(`expected a project's name without slashes at its ends: write "${trimmed}"`);
  }
  if (!repository.test(text) || text.length > 255) {
    throw new ValueError(`expected a project's name such as cache or team/cache, got ${JSON.stringify(text)}`);
  }
  return text;
}

/**
 * Reads a pattern of repositories, in which `*` stands for anything within a part of the name, and `**` for anything.
 *
 * @throws {ValueError}
 */
export function parseRepositoryPattern(text: string): string {
  if (!pattern.test(text) || text.includes("***") || text.length > 255) {
    const lower = text.toLowerCase();
    const hint = lower !== text && pattern.test(lower) ? "; names of repositories have no capital letters" : "";
    throw new ValueError(`expected a repository's name or a pattern such as library/* or team/**${hint}`);
  }
  return text;
}
