import type { Problem } from "./problems.ts";

/** Headers that the program sets itself, and those that are about the connection. */
const reserved: ReadonlySet<string> = new Set(
  (
    "accept accept-encoding authorization connection content-encoding content-length content-type expect host " +
    "keep-alive proxy-authorization proxy-connection range te trailer transfer-encoding upgrade user-agent"
  ).split(" "),
);

const name = /^[!#$%&'*+.^_`|~0-9a-z-]{1,128}$/;
const value = /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/;

/** What is wrong with headers for an upstream, if anything. Messages repeat no value, as these may be secret. */
export function checkHeaders(headers: Readonly<Record<string, string>>): Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const [key, text] of Object.entries(headers)) {
    const lower = key.toLowerCase();
    const message = !name.test(lower)
      ? "not a header's name"
      : reserved.has(lower)
        ? explainReserved(lower)
        : seen.has(lower)
          ? "the header is there twice"
          : !value.test(text)
            ? "must be printable ASCII text without spaces around it"
            : undefined;
    seen.add(lower);
    if (message !== undefined) {
      problems.push({ path: [key], message });
    }
  }
  return problems;
}

function explainReserved(key: string): string {
  const instead: Readonly<Record<string, string>> = {
    authorization: "credentials go to `username` and `password`",
    "user-agent": "write `user_agent`",
    "proxy-authorization": "a proxy's user and password go to the URL in `proxy`",
  };
  return `this header cannot be set${instead[key] === undefined ? "" : `; ${instead[key]}`}`;
}
