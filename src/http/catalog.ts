import { OciError } from "../oci/errors.ts";
import { formatNextLink } from "../oci/link.ts";
import { formatRoute, type Route } from "../oci/route.ts";
import type { Namespaces } from "../registry/namespaces.ts";
import type { Request } from "./request.ts";
import { limitPage } from "./pull.ts";
import { jsonReply, type Reply } from "./reply.ts";

const largestPage = 1_000;

/**
 * `GET /v2/_catalog` (Docker's API): the repositories that are hosted here, each by the name by which it is pulled. What
 * is mirrored cannot be listed. Namespaces come one after the other, each in its order.
 */
export async function listRepositories(namespaces: Namespaces, route: Route, request: Request): Promise<Reply> {
  const hosted = namespaces.hosted(route, request.headers.host);
  if (hosted.length === 0) {
    throw new OciError("NOT_FOUND", "no repositories are hosted here, and those that are mirrored cannot be listed");
  }
  const query = new URLSearchParams(limitPage(route.query));
  const last = query.get("last") ?? "";
  const limit = Number(query.get("n") ?? largestPage);
  const names: string[] = [];
  const nextPage = (): Reply => {
    const next = new URLSearchParams({ n: String(limit), last: names.at(-1) ?? "" }).toString();
    const link = formatNextLink(formatRoute({ ...route, query: next }));
    return jsonReply(200, "application/json", { repositories: names }, { Link: link });
  };
  let isBehind = last === "";
  for (const { namespace, push, isNamed } of limit === 0 ? [] : hosted) {
    const prefix = isNamed ? "" : `${namespace}/`;
    // The namespaces before the one of the last name are through.
    if (!isBehind && !last.startsWith(prefix)) continue;
    const after = isBehind ? undefined : last.slice(prefix.length);
    isBehind = true;
    if (names.length === limit) return nextPage();
    const page = await push.repositories(after, limit - names.length);
    names.push(...page.names.map((name) => `${prefix}${name}`));
    if (!page.isLast) return nextPage();
  }
  return jsonReply(200, "application/json", { repositories: names });
}
