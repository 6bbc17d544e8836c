import { type Fault, faultsOf } from "../fault.ts";

export const httpPull: readonly Fault[] = [
  ...faultsOf(
    "http/pull",
    ["http/blobs", "http/manifests", "http/listings"],
    [
      {
        name: "unsatisfiable-left-open",
        find: 'if (span === "unsatisfiable") {\n    await blob.close();',
        replace: 'if (span === "unsatisfiable") {',
        breaks: "a blob whose range cannot be served is closed",
      },
      {
        name: "file-for-anybody",
        find: 'return type === "X-Accel-Redirect" && ifMatch',
        replace: "return ifMatch",
        breaks: "who does not come through nginx has the bytes",
      },
      {
        name: "file-left-open",
        find: "letsNginxSend(pull.headers)) {\n    await blob.close();",
        replace: "letsNginxSend(pull.headers)) {",
        breaks: "a blob that nginx sends is closed here",
      },
      {
        name: "range-of-another-blob",
        find: 'honoursRange(pull.headers["if-range"], digest) ? range : undefined',
        replace: "range",
        breaks: "a range of another blob is not served",
      },
      {
        name: "weak-if-range",
        find: 'ifRange === undefined || ifRange === `"${digest}"`',
        replace: "ifRange === undefined || String(ifRange).includes(digest)",
        breaks: "a weak tag lets no range stand",
      },
      {
        name: "head-opens-the-blob",
        find: "if (pull.head || unlessMet(",
        replace: "if (unlessMet(",
        breaks: "HEAD costs a question, not a transfer",
      },
      {
        name: "head-transfers-the-manifest",
        find: "pull.head\n    ? await registry.resolve(repository, reference, pull.asker)\n    : await",
        replace: "await",
        breaks: "HEAD of a tag costs a HEAD",
      },
      {
        name: "manifest-not-conditional",
        find: "if (unmet !== undefined) return unmet;",
        replace: "",
        breaks: "who has the manifest is told so",
      },
      {
        name: "length-in-304",
        find: 'const { "Content-Length": _length, "Content-Type": _type, ...rest } = headers;',
        replace: "const rest = headers;",
        breaks: "304 has no body, and says nothing of one",
      },
      {
        name: "weak-tag-unknown",
        find: "ifNoneMatch.replaceAll('W/\"', '\"')",
        replace: "ifNoneMatch",
        breaks: "a tag that a proxy made weak is known",
      },
      {
        name: "star-unknown",
        find: 'tags.trim() === "*" || ',
        replace: "",
        breaks: "If-None-Match: * means anything",
      },
      {
        name: "browser-runs-it",
        find: '"Content-Disposition": "attachment",',
        replace: "",
        breaks: "a browser does not run a blob",
      },
      {
        name: "compressed-on-the-way",
        find: '"Cache-Control": "no-transform",\n    ...cache',
        replace: "...cache",
        breaks: "no proxy changes what has a digest",
      },
      {
        name: "large-page",
        find: "if (Number(n) <= largestPage) return query;",
        replace: "return query;",
        breaks: "a page has a thousand entries at most",
      },
      {
        name: "any-page-size",
        find: "if (!/^\\d{1,9}$/.test(n)) throw",
        replace: 'if (n === "") throw',
        breaks: "what is no number of entries is refused",
      },
      {
        name: "no-next-page",
        find: "...(nextQuery !== undefined && { Link",
        replace: '...(nextQuery === "" && { Link',
        breaks: "a page says where the next one is",
      },
      {
        name: "filters-not-told",
        find: "...(filtersApplied !== undefined && {",
        replace: '...(filtersApplied === "" && {',
        breaks: "referrers say which filters were applied",
      },
    ],
  ),
  ...faultsOf(
    "http/push",
    ["http/errors", "flow/hosted"],
    [
      {
        name: "no-allow",
        find: '{ Allow: "GET, HEAD" }',
        replace: "{}",
        breaks: "who changes content is told what may be done",
      },
      {
        name: "reasons-told",
        find: "if (error instanceof OciError) return undefined;",
        replace: "",
        breaks: "a mount that is not possible is an upload, for whatever reason",
      },
      {
        name: "no-offset",
        find: "uploadHeaders(push, error.state)",
        replace: "{}",
        breaks: "a chunk out of order hears where the upload goes on",
      },
      {
        name: "one-tag",
        find: '[...new Set(new URLSearchParams(query).getAll("tag").map(parseTag))]',
        replace: '[...new Set(new URLSearchParams(query).getAll("tag").map(parseTag))].slice(0, 1)',
        breaks: "a manifest has all tags that it is pushed with",
      },
      {
        name: "condition-not-kept",
        find: "(ifMatch === undefined || isNamed(ifMatch, current)) &&",
        replace: "",
        breaks: "two that change a tag at once lose nothing",
      },
    ],
  ),
  ...faultsOf(
    "http/handler",
    ["http/server", "http/errors", "http/manifests"],
    [
      {
        name: "pushes-pulled",
        find: '!isPull || endpoint.kind === "uploads"',
        replace: 'endpoint.kind === "uploads"',
        breaks: "a mirror's content cannot be changed",
      },
      {
        name: "cause-not-recorded",
        find: "facts.error = error;",
        replace: "",
        breaks: "why a request failed is logged",
      },
    ],
  ),
  ...faultsOf(
    "http/reply",
    ["http/errors", "http/manifests", "http/server"],
    [
      {
        name: "denial-passed-on",
        find: 'case "denied":\n      // Not their 401 or 403: every client falls back after a 404, and none must go to the upstream\'s token server.\n      return {\n        status: 404,',
        replace: 'case "denied":\n      return {\n        status: 403,',
        breaks: "a refusal of the upstream is 404",
      },
      {
        name: "rate-limit-passed-on",
        find: 'return {\n        status: 503,\n        code: "TOOMANYREQUESTS",\n        message: "the upstream registry limits',
        replace:
          'return {\n        status: 429,\n        code: "TOOMANYREQUESTS",\n        message: "the upstream registry limits',
        breaks: "a rate limit of the upstream is not repeated at once",
      },
      {
        name: "no-retry-after",
        find: "retryAfter === undefined ? {} :",
        replace: "retryAfter !== undefined ? {} :",
        breaks: "clients are told when to come again",
      },
      {
        name: "stale-without-warning",
        find: "if (cache.staleReason !== undefined) {\n    headers",
        replace: 'if (cache.staleReason === "") {\n    headers',
        breaks: "a stale answer says so",
      },
      {
        name: "storage-failure-is-500",
        find: "if (error instanceof StoreError) {",
        replace: "if (error === undefined) {",
        breaks: "a storage that cannot be read is 503",
      },
      {
        name: "sniffed",
        find: '"X-Content-Type-Options": "nosniff",',
        replace: "",
        breaks: "a browser takes content for what it is said to be",
      },
    ],
  ),
];
