import { readFile } from "node:fs/promises";
import type * as http from "node:http";
import type * as https from "node:https";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Clock } from "../concurrency/clock.ts";

/** How a pod reaches the API of its cluster. */
export interface ClusterAccess {
  /** `https://10.0.0.1:443` */
  readonly url: string;
  /** The folder of its service account: `token`, `ca.crt` and `namespace`. */
  readonly account: string;
}

/** What is waited for. */
export interface Goal {
  /** In the namespace of the service account. */
  readonly daemonSet: string;
  /** Neither it nor a pod of it is there; or each node that should have a pod of its newest form has a ready one. */
  readonly until: "gone" | "ready";
  /** Deletes it first. */
  readonly isDeleted: boolean;
  readonly timeoutMs: number;
}

/** It was not reached in time, or cannot be. */
export class GoalMissed extends Error {
  override readonly name = "GoalMissed";
}

interface DaemonSet {
  readonly metadata?: { readonly generation?: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly desiredNumberScheduled?: number;
    readonly updatedNumberScheduled?: number;
    readonly numberReady?: number;
  };
}

interface Pod {
  readonly metadata?: { readonly ownerReferences?: readonly { readonly kind?: string; readonly name?: string }[] };
  readonly spec?: { readonly nodeName?: string };
  readonly status?: { readonly conditions?: readonly { readonly type?: string; readonly status?: string }[] };
}

interface PodList {
  readonly metadata?: { readonly continue?: string };
  readonly items?: readonly Pod[];
}

const pollMs = 2_000;
const answerMs = 10_000;
const pageSize = 500;
const require = createRequire(import.meta.url);

/**
 * Waits until a DaemonSet is as it should be.
 *
 * @param say Told what it waits for, whenever that changes.
 * @throws {GoalMissed} With what is missing.
 */
export async function awaitDaemonSet(
  access: ClusterAccess,
  goal: Goal,
  say: (text: string) => void,
  clock: Clock,
): Promise<void> {
  const began = clock.monotonic();
  let isDeleted = !goal.isDeleted;
  let said = "";
  for (;;) {
    let missing: string | undefined;
    try {
      if (!isDeleted) await callApi(access, "DELETE", daemonSetPath(goal.daemonSet));
      isDeleted = true;
      missing = await (goal.until === "gone" ? findLeft(access, goal.daemonSet) : findUnready(access, goal.daemonSet));
      if (missing === undefined) return;
    } catch (error) {
      missing = (error as Error).message;
    }
    if (missing !== said) say(missing);
    said = missing;
    const left = goal.timeoutMs - (clock.monotonic() - began);
    if (left <= 0) throw new GoalMissed(`not ${goal.until} within ${goal.timeoutMs / 1_000} s: ${missing}`);
    await clock.wait(Math.min(pollMs, left), new AbortController().signal);
  }
}

/** What is left of a DaemonSet; `undefined` where nothing is. */
async function findLeft(access: ClusterAccess, name: string): Promise<string | undefined> {
  if ((await callApi<DaemonSet>(access, "GET", daemonSetPath(name))) !== undefined) {
    return `the DaemonSet ${name} is still there`;
  }
  const pods = await listPods(access, name);
  return pods.length === 0 ? undefined : `pods of ${name} are still there: ${nodesOf(pods)}`;
}

/** Which nodes lack a ready pod; `undefined` where none does. */
async function findUnready(access: ClusterAccess, name: string): Promise<string | undefined> {
  const set = await callApi<DaemonSet>(access, "GET", daemonSetPath(name));
  if (set === undefined) return `there is no DaemonSet ${name}`;
  const { metadata = {}, status = {} } = set;
  if ((status.observedGeneration ?? 0) < (metadata.generation ?? 1)) return `the cluster has not looked at ${name} yet`;
  const { desiredNumberScheduled: wanted = 0, updatedNumberScheduled: updated = 0, numberReady: ready = 0 } = status;
  if (ready === wanted && updated === wanted) return undefined;
  const unready = (await listPods(access, name)).filter(
    (pod) => !pod.status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"),
  );
  const counts = `of ${wanted} nodes ${ready} have a ready pod of ${name}, ${updated} a pod of its newest form`;
  return unready.length === 0 ? counts : `${counts}; not ready: ${nodesOf(unready)}`;
}

async function listPods(access: ClusterAccess, daemonSet: string): Promise<Pod[]> {
  const pods: Pod[] = [];
  let next = "";
  do {
    const page = await callApi<PodList>(access, "GET", `/api/v1/namespaces/{}/pods?limit=${pageSize}${next}`);
    const isOwner = ({ kind, name }: { kind?: string; name?: string }): boolean =>
      kind === "DaemonSet" && name === daemonSet;
    pods.push(...(page?.items ?? []).filter(({ metadata }) => metadata?.ownerReferences?.some(isOwner)));
    const token = page?.metadata?.continue ?? "";
    next = token === "" ? "" : `&continue=${encodeURIComponent(token)}`;
  } while (next !== "");
  return pods;
}

function nodesOf(pods: readonly Pod[]): string {
  return pods
    .map(({ spec }) => spec?.nodeName ?? "no node yet")
    .toSorted()
    .join(", ");
}

function daemonSetPath(name: string): string {
  return `/apis/apps/v1/namespaces/{}/daemonsets/${encodeURIComponent(name)}`;
}

/**
 * Calls the API; `undefined` for 404. The account's files are read each time, as the token is replaced about once an hour.
 *
 * @param path `{}` stands for the namespace.
 */
async function callApi<T>(access: ClusterAccess, method: "GET" | "DELETE", path: string): Promise<T | undefined> {
  const [token, ca, namespace] = await Promise.all(
    ["token", "ca.crt", "namespace"].map((name) => readFile(join(access.account, name), "utf8")),
  );
  const url = new URL(path.replace("{}", encodeURIComponent(namespace?.trim() ?? "")), access.url);
  const { request } =
    url.protocol === "https:" ? (require("node:https") as typeof https) : (require("node:http") as typeof http);
  const answer = Promise.withResolvers<{ readonly status: number; readonly body: string }>();
  const signal = AbortSignal.timeout(answerMs);
  const headers = { Accept: "application/json", Authorization: `Bearer ${token?.trim()}` };
  const asking = request(url, { method, ca, headers, agent: false, signal }, (response) => {
    let body = "";
    response.setEncoding("utf8").on("data", (more: string) => (body += more));
    response.on("end", () => answer.resolve({ status: response.statusCode ?? 0, body })).on("error", answer.reject);
  }).on("error", answer.reject);
  asking.end();
  const { status, body } = await answer.promise.catch((error: Error) => {
    const why = signal.aborted ? `no answer within ${answerMs / 1_000} s` : error.message;
    throw new Error(`the API at ${access.url} cannot be reached: ${why}`, { cause: error });
  });
  if (status === 404) return undefined;
  if (status < 200 || status > 299)
    throw new Error(`${method} ${url.pathname} is answered ${status}: ${messageOf(body)}`);
  return JSON.parse(body) as T;
}

function messageOf(body: string): string {
  try {
    return ((JSON.parse(body) as { readonly message?: string }).message ?? "").slice(0, 500);
  } catch {
    return body.slice(0, 200);
  }
}
