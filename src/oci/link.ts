const target = /[ \t,]*<([^>]*)>/y;
const parameter =
  /[ \t]*;[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]*)[ \t]*(?:=[ \t]*(?:"([^"\\]*(?:\\[^][^"\\]*)*)"|([^\s,;"]*)))?/y;
const unsafeInTarget = /[^\x21-\x7e]|[<>"]/gu;

/**
 * Finds the next page in a `Link` header (RFC 8288 §3; distribution-spec, "Listing Tags").
 *
 * @returns the target of the first link with `rel="next"`, as it stands: relative or absolute, and not to be trusted.
 *   `undefined`: there is none, or the header cannot be read that far. It never throws.
 */
export function parseNextLink(header: string | readonly string[] | undefined): string | undefined {
  const text = typeof header === "string" ? header : (header?.join(", ") ?? "");
  let position = 0;
  for (;;) {
    target.lastIndex = position;
    const link = target.exec(text);
    if (link === null) {
      return undefined;
    }
    position = target.lastIndex;
    let relation: string | undefined;
    for (;;) {
      parameter.lastIndex = position;
      const match = parameter.exec(text);
      if (match === null) {
        break;
      }
      position = parameter.lastIndex;
      if (match[1]?.toLowerCase() === "rel") {
        // Only the first rel of a link counts (RFC 8288 §3.3).
        relation ??= match[2] ?? match[3] ?? "";
      }
    }
    if (
      link[1] !== "" &&
      relation
        ?.toLowerCase()
        .split(/[ \t]+/)
        .includes("next")
    ) {
      return link[1];
    }
  }
}

/** Writes the `Link` header that points to the next page. What cannot stand in a target is percent-encoded. */
export function formatNextLink(target: string): string {
  return `<${target.toWellFormed().replaceAll(unsafeInTarget, encodeURIComponent)}>; rel="next"`;
}
