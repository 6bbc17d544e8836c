import { parseNamespace } from "./address.ts";
import { ValueError } from "./config-error.ts";

const repositoryGrammar = /^(?:\*\*|[a-z0-9._*-]+)(?:\/(?:\*\*|[a-z0-9._*-]+))*$/;
const tagGrammar = /^[a-zA-Z0-9_*][a-zA-Z0-9._*-]{0,127}$/;
const digestGrammar = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;
const namespacePattern = /^[a-z0-9*][a-z0-9*.-]*(?::(?:[0-9*]+))?$/;

/**
 * Reads a pattern of what is to be kept: `<namespace>/<repository>[:<tag>|@<digest>]`, in which `*` stands for anything
 * within a part, in the tag too, and a part `**` for any number of parts of the repository. Without tag or digest it
 * means all that the repositories hold.
 *
 * @returns The pattern with its namespace by the name that it has here (`parseNamespace`), and with `library/` before
 *   Docker Hub's repositories of one part.
 * @throws {ValueError}
 */
export function parsePinPattern(text: string): string {
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  if (!/[.:*]/.test(first) && first.toLowerCase() !== "localhost") {
    throw new ValueError(
      `a pattern begins with a registry's name, such as docker.io/library/alpine or quay.io/team/**, got ${JSON.stringify(text)}`,
    );
  }
  const namespace = readNamespace(first);
  const [, repository = "", separator = "", reference = ""] =
    /^([^:@]*)([:@]?)(.*)$/s.exec(text.slice(slash + 1)) ?? [];
  if (!repositoryGrammar.test(repository) || /\*\*[^/]|[^/]\*\*/.test(repository) || repository.length > 255) {
    const hint = /[A-Z]/.test(repository) ? "; names of repositories have no capital letters" : "";
    throw new ValueError(
      `expected a repository behind ${namespace}/, such as team/app, team/* or **, got ${JSON.stringify(repository)}${hint}`,
    );
  }
  if (separator === ":" && !tagGrammar.test(reference)) {
    const hint = reference.includes("@") ? ": either a tag or a digest" : " such as 1.2 or 1.*";
    throw new ValueError(`expected a tag${hint}, got ${JSON.stringify(reference)}`);
  }
  if (separator === "@" && !digestGrammar.test(reference)) {
    throw new ValueError(`expected a digest such as sha256:<64 hex digits>, got ${JSON.stringify(reference)}`);
  }
  const isOfLibrary = namespace === "docker.io" && !repository.includes("/") && repository !== "**";
  return `${namespace}/${isOfLibrary ? "library/" : ""}${repository}${separator}${reference}`;
}

function readNamespace(text: string): string {
  if (!text.includes("*")) {
    return parseNamespace(text);
  }
  const lower = text.toLowerCase();
  if (!namespacePattern.test(lower) || lower.includes("**") || lower.length > 255) {
    throw new ValueError(`expected a registry's name such as quay.io or *.example.com, got ${JSON.stringify(text)}`);
  }
  return lower;
}
