import { type Fault, faultsOf } from "../fault.ts";

export const httpAdmin: readonly Fault[] = [
  ...faultsOf(
    "http/admin-access",
    ["http/admin", "http/admin-server"],
    [
      {
        name: "foreign-pages",
        find: "if (isForeign(headers, token !== undefined)) {",
        replace: "if (headers === undefined) {",
        breaks: "pages of other sites do not reach the administration",
      },
      {
        name: "cross-site-fetch",
        find: 'if (site !== undefined && site !== "same-origin" && site !== "none") return true;',
        replace: "",
        breaks: "what a browser says comes from another site is refused",
      },
      {
        name: "rebound-name",
        find: "!(hasToken || isThisMachine(url.hostname))",
        replace: "false",
        breaks: "without a token an origin's name is not believed",
      },
      {
        name: "any-name",
        find: "if (!isRead || name === undefined || isThisMachine(name) || name === host?.toLowerCase()) return;",
        replace: "return;",
        breaks: "without a token no name is believed but its own",
      },
      {
        name: "any-token",
        find: "if (given === undefined || !isSame(given, token)) {",
        replace: "if (given === undefined) {",
        breaks: "only the token opens the administration",
      },
      {
        name: "no-token",
        find: "if (given === undefined || !isSame(given, token)) {",
        replace: "if (given !== undefined && !isSame(given, token)) {",
        breaks: "without its token nobody administers",
      },
      {
        name: "origin-of-another-port",
        find: "url.host !== host.toLowerCase()",
        replace: 'url.hostname !== host.toLowerCase().replace(/:\\d+$/, "")',
        breaks: "a page of another port is another site's",
      },
    ],
  ),
  ...faultsOf(
    "http/admin-handler",
    ["http/admin", "http/admin-server"],
    [
      {
        name: "no-challenge",
        find: 'error.code === "UNAUTHORIZED" ?',
        replace: 'error.code === "DENIED" ?',
        breaks: "who has no token is told how to give it",
      },
    ],
  ),
  ...faultsOf(
    "http/admin-target",
    ["http/admin", "http/admin-server"],
    [
      {
        name: "prefix-is-admin",
        find: "target === adminRoot || target.startsWith(`${adminRoot}/`) || target.startsWith(`${adminRoot}?`)",
        replace: "target.startsWith(adminRoot)",
        breaks: "only what is below its path is the administration's",
      },
    ],
  ),
  ...faultsOf(
    "http/admin",
    ["http/admin", "http/admin-server"],
    [
      {
        name: "form-is-json",
        find: "if (!isJson(request.headers)) {",
        replace: "if (request.headers === undefined) {",
        breaks: "a page of another site cannot post without asking first",
      },
      {
        name: "large-body",
        find: "request.body?.(maxBodyBytes)",
        replace: "request.body?.(maxBodyBytes * 100)",
        breaks: "a request's body takes bounded memory",
      },
      {
        name: "field-twice",
        find: "if (new Set(fields.map(([name]) => name)).size < fields.length) {",
        replace: "if (fields.length < 0) {",
        breaks: "a query with a field twice is refused",
      },
      {
        name: "any-method-deletes",
        find: 'if (method !== "DELETE") return refuseMethod(["DELETE"]);',
        replace: "",
        breaks: "only DELETE deletes",
      },
      {
        name: "delete-is-a-dry-run",
        find: "purge(purged, { dryRun: false })",
        replace: "purge(purged, { dryRun: true })",
        breaks: "the predecessor's delete removes",
      },
    ],
  ),
  ...faultsOf(
    "http/admin-events",
    ["http/admin-events"],
    [
      {
        name: "silence",
        find: "if (line !== undefined) yield line;",
        replace: "if (line !== undefined && got !== undefined) yield line;",
        breaks: "who follows a job hears of it at least every 20 seconds",
      },
      {
        name: "timer-left",
        find: ".finally(() => told.abort())",
        replace: "",
        breaks: "who follows a job leaves no timers",
      },
      {
        name: "never-ends",
        find: "if (got?.done === true) return;",
        replace: "if (got?.done === true && line === undefined) return;",
        breaks: "the stream of a job ends with it",
      },
    ],
  ),
  ...faultsOf(
    "http/admin-operations",
    ["http/admin"],
    [
      {
        name: "place-not-checked",
        find: "checkPlace(query.after, readRepositoryPlace);",
        replace: "",
        breaks: "a part of a list begins where a part has ended",
      },
      {
        name: "tag-place-not-checked",
        find: "checkPlace(part.after, readTagPlace);",
        replace: "",
        breaks: "a part of a list begins where a part has ended",
      },
      {
        name: "purge-not-logged",
        find: "facts.reference = target;",
        replace: "",
        breaks: "the log says what was purged",
      },
      {
        name: "pin-not-logged",
        find: "facts.reference = pattern;\n        await administration.addPin",
        replace: "await administration.addPin",
        breaks: "the log says what was pinned",
      },
      {
        name: "unpin-not-logged",
        find: "facts.reference = pattern;\n        await administration.removePin",
        replace: "await administration.removePin",
        breaks: "the log says what was unpinned",
      },
      {
        name: "start-not-logged",
        find: "facts.reference = job.id;",
        replace: "",
        breaks: "the log says which job was started",
      },
      {
        name: "started-is-200",
        find: "return answerJson(job, 202);",
        replace: "return answerJson(job);",
        breaks: "a job that was started is accepted, not done",
      },
      {
        name: "unknown-job-followed",
        find: "administration.job(parameter);\n        return {",
        replace: "return {",
        breaks: "who follows a job that there is not is told at once",
      },
      {
        name: "events-stored",
        find: '"Cache-Control": "no-store"',
        replace: '"Cache-Control": "no-transform"',
        breaks: "nobody on the way stores a job's states",
      },
      {
        name: "steps-in-the-list",
        find: "administration.jobs().map(withoutSteps)",
        replace: "administration.jobs()",
        breaks: "the list of jobs is short",
      },
    ],
  ),
  ...faultsOf(
    "http/admin-reading",
    ["http/admin"],
    [
      {
        name: "all-issues-told",
        find: "issues.slice(0, issuesTold)",
        replace: "issues",
        breaks: "an error is short, however much is wrong",
      },
      {
        name: "long-error",
        find: "told.length > longestTold ?",
        replace: "told.length > 1e9 ?",
        breaks: "an error is short, however much is wrong",
      },
      {
        name: "any-place",
        find: "if (after === undefined) return;\n  try {",
        replace: "return;\n  try {",
        breaks: "a part of a list begins where a part has ended",
      },
    ],
  ),
];
