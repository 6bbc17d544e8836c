import { readFile } from "node:fs/promises";
import type { Clock } from "../concurrency/clock.ts";
import { ConfigError, ValueError } from "../config/config-error.ts";
import { explainReading } from "../config/named-files.ts";
import { parseSharedSecret, type ReplicasConfig } from "../config/replicas-schema.ts";
import { isObject } from "../oci/document.ts";
import { Records, unaccounted } from "../registry/records.ts";
import { Board } from "../replicas/board.ts";
import { Leases } from "../replicas/leases.ts";
import type { ReplicaReport } from "../jobs/reports.ts";
import { Notices, type ObeyedNotices } from "../replicas/notices.ts";
import { PeerCalls } from "../replicas/peer-calls.ts";
import { PeerGuard } from "../replicas/peer-guard.ts";
import { Sharing } from "../replicas/sharing.ts";
import { SharedSecret } from "../replicas/shared-secret.ts";
import { stateKey } from "../store/layout.ts";
import type { ObjectStore } from "../store/object-store.ts";
import type { Observers } from "./observers.ts";
import type { Mirrors } from "./mirrors.ts";
import { shareFingerprints } from "../upstream/credentials.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import type { Tier } from "./storage.ts";

/** How long the bucket may take to hear that this replica is gone, in milliseconds. */
const closeMs = 2_000;

/** What replicas work with. */
export interface ReplicasTools {
  readonly clock: Clock;
  readonly observers: Observers;
  /** Where it is remembered what was obeyed. */
  readonly folder: ObjectStore;
  /** Does what another replica was told. */
  readonly obey: (order: string) => Promise<void>;
  /** How upstreams do, by namespace. */
  readonly upstreams: () => Mirrors["upstreams"];
}

/** What makes this instance one of several on its bucket. */
export interface Replicas {
  readonly board: Board;
  readonly guard: PeerGuard;
  readonly sharing: Sharing;
  /** The replicas that are there, this one first. */
  report(): readonly ReplicaReport[];
  /** Has all other replicas do something that people have told this one. Throws where they cannot be told. */
  tellOthers(order: string): Promise<void>;
  /** Gives back what this one holds, and says that it is gone. */
  close(): Promise<void>;
}

/**
 * Makes what the configuration says of replicas. Nothing is sent before the board is started.
 *
 * @throws {ConfigError} the secret cannot be read.
 */
export async function openReplicas(
  config: ReplicasConfig,
  { store, bucket, copies }: Tier,
  tools: ReplicasTools,
): Promise<Replicas> {
  const { clock, folder, obey } = tools;
  const { replicas: observer } = tools.observers;
  const secrets = await readSecrets(config);
  const secret = new SharedSecret(secrets);
  shareFingerprints(secrets[0]);
  const notices = new Notices({
    store,
    secret,
    obeyed: rememberObeyed(folder),
    obey: async (text) => {
      sharing.answers.clear();
      await obey(text);
    },
    now: () => clock.now(),
    onError: observer.disobeyed,
  });
  const board = new Board({
    store,
    secret,
    tells: () => {
      const upstreams = [...tools.upstreams()];
      return {
        fetching: sharing.fetching,
        budgets: Object.fromEntries(upstreams.map(([namespace, { budget }]) => [namespace, budget.entries])),
        failing: upstreams.filter(([, { breaker }]) => breaker.state === "open").map(([namespace]) => namespace),
      };
    },
    onTold: ({ budgets, failing }) => {
      for (const [namespace, { budget, breaker }] of tools.upstreams()) {
        const told = budgets[namespace];
        if (told !== undefined) budget.learn(told);
        if (failing.includes(namespace)) {
          breaker.hearFailure(new UpstreamError(namespace, "unreachable", "it fails for another replica"));
        }
      }
    },
    onNotices: (keys) => notices.look(keys),
    sweep: () => leases.sweep(async (id) => (await board.addressOf(id)) !== undefined),
    clock,
    observer,
  });
  const calls = new PeerCalls({ secret, addressOf: (id) => board.addressOf(id), clock, onLeft: observer.leftAlone });
  const leases = new Leases({
    store,
    self: board.self,
    isGone: (id) => calls.isGone(id),
    known: board.posted,
  });
  const sharing: Sharing = new Sharing({
    leases,
    calls,
    copied: (key) => copies.settled(key),
    // Commands that work on the folder by themselves are no replicas.
    isSpared: () => board.address === "" || bucket.isResting,
    clock,
    onUnsettled: observer.unsettled,
  });
  return {
    board,
    sharing,
    guard: new PeerGuard(secret, board.self, () => clock.monotonic()),
    report: () => [
      { id: board.self, address: board.address, isSelf: true, silentMs: 0, fetching: sharing.fetching },
      ...board.others.map(({ id, address, silentMs, tells: { fetching } }) => {
        return { id, address, isSelf: false, silentMs: Math.round(silentMs), fetching };
      }),
    ],
    async tellOthers(order) {
      sharing.answers.clear();
      await notices.tell(order);
    },
    async close() {
      const over = new AbortController();
      const closed = Promise.all([sharing.close(), board.close(), calls.close()]).finally(() => over.abort());
      // Others find out by themselves where the bucket does not take it.
      await Promise.race([closed, clock.wait(closeMs, over.signal).catch(() => undefined)]);
    },
  };
}

function rememberObeyed(folder: ObjectStore): ObeyedNotices {
  const records = new Records(folder, { isRecord: isObeyed, maxInMemory: 0 });
  const key = stateKey("notices");
  return {
    load: async () => new Set((await records.get(key))?.obeyed),
    save: (names) => records.set(key, { obeyed: [...names] }, false, unaccounted),
  };
}

function isObeyed(value: unknown): value is { readonly obeyed: readonly string[] } {
  return isObject(value) && Array.isArray(value["obeyed"]);
}

async function readSecrets({ secret, secretFile, previousSecret }: ReplicasConfig): Promise<[string, ...string[]]> {
  const more = previousSecret === undefined ? [] : [previousSecret];
  if (secretFile === undefined) return [secret ?? "", ...more];
  let text: string;
  try {
    text = await readFile(secretFile, "latin1");
  } catch (error) {
    throw new ConfigError([`replicas.secret_file: ${secretFile} cannot be used: ${explainReading(error)}`]);
  }
  const lines = text.split("\n").flatMap((line) => (line.trim() === "" ? [] : [line.trim()]));
  try {
    const [first = "", ...others] = lines;
    return [parseSharedSecret(first), ...others.map(parseSharedSecret), ...more];
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    const grammar = "a secret of at least 32 printable ASCII characters on each line";
    throw new ConfigError([`replicas.secret_file: ${secretFile} must hold ${grammar}`]);
  }
}

/** Where other replicas are told to reach this one, which listens at a URL. */
export function urlToAdvertise(advertise: string | undefined, listening: string): string {
  if (advertise === undefined) return listening;
  const hasPort = /:\d+$/.test(advertise);
  return new URL(hasPort ? `http://${advertise}` : `http://${advertise}:${new URL(listening).port || 80}`).origin;
}
