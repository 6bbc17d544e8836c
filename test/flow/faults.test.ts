import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import "../support/network.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { errorOf } from "../../src/store/object-store.ts";
import type { Behaviour, Match } from "../support/behaviour.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { BrokenBody, open } from "../support/http.ts";
import { createListener } from "../support/listener.ts";
import { mediaTypes } from "../support/image.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { inspectBucket, type Kept, untriedBucket } from "../support/s3-bucket.ts";
import { soaks } from "../support/soak.ts";
import { inspectStorage, type Stored } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const kinds = ["blob", "manifest by tag", "manifest by digest"] as const;
type Kind = (typeof kinds)[number];

const size = 200_000;
const password = "hidden-password";
const signature = "hidden-signature";
/** A part of what an upstream sends, which may hold secrets. */
const bodyText = "hidden-text";
/** Longer than the time-outs and the one more try together, on a busy machine: who waits longer waits for ever. */
const patienceMs = 30_000;
/** Shorter than the usual time-outs of a test, and longer than anything takes that is not to be cut off. */
const soonMs = 1_000;

/** The right bytes; an answer that ends before its end; or a status with a code. */
type Outcome = "right" | "broken" | readonly [status: number, code: string];

interface World {
  readonly upstream: ScriptedUpstream;
  readonly other: ScriptedUpstream;
  /** A host where nobody listens. */
  readonly deadHost: string;
  /** The path of what is pulled. */
  readonly path: string;
  readonly bytes: Buffer;
}

interface Fault {
  readonly behaviour: Behaviour | ((world: World) => Behaviour);
  /** How often the upstream does so; for ever without it. */
  readonly times?: number;
  /** Which requests are meant, where it is not the pull itself. */
  readonly where?: Match;
  readonly prepare?: (world: World) => void;
  readonly blob: Outcome;
  readonly manifest: Outcome;
  /** Where a manifest by digest ends otherwise than one by tag. */
  readonly manifestByDigest?: Outcome;
  /** What the one warning gives as its cause; without it there must be none. */
  readonly blobCause?: RegExp;
  readonly manifestCause?: RegExp;
  /** The mirror's time-out that is to pass, as it is shorter than usual: that for an answer's header or for its body. */
  readonly impatient?: "headerTimeoutMs" | "idleTimeoutMs";
  /** `Retry-After` of the answer. */
  readonly retryAfter?: string;
}

/** The same for all kinds. */
function all(outcome: Outcome, cause?: RegExp): Pick<Fault, "blob" | "manifest" | "blobCause" | "manifestCause"> {
  return { blob: outcome, manifest: outcome, ...(cause !== undefined && { blobCause: cause, manifestCause: cause }) };
}

const gatewayError: Outcome = [502, "UNAVAILABLE"];
const timeout: Outcome = [504, "UNAVAILABLE"];
/** 404 too: a client is never told to log in where it cannot. */
const denied = all([404, "NAME_UNKNOWN"]);
/** 404, and the code that says what is not there. */
const absent = { blob: [404, "BLOB_UNKNOWN"], manifest: [404, "MANIFEST_UNKNOWN"] } as const;
const needsToken = ({ upstream }: World): void => {
  upstream.requireToken({ credentials: { username: "mirror", password } });
};
const faults: Record<string, Fault> = {
  "the connection is closed before the headers, once": { behaviour: { hangUp: true }, times: 1, ...all("right") },
  "the connection is reset before the headers, once": {
    behaviour: { hangUp: true, cutBy: "reset" },
    times: 1,
    ...all("right"),
  },
  "the connection is closed before the headers, always": {
    behaviour: { hangUp: true },
    ...all(gatewayError, /UND_ERR_SOCKET|ECONNRESET/),
  },
  "the connection is reset before the headers, always": {
    behaviour: { hangUp: true, cutBy: "reset" },
    ...all(gatewayError, /UND_ERR_SOCKET|ECONNRESET/),
  },
  "the body breaks in the middle, once": {
    behaviour: ({ bytes }) => ({ cutAfterBytes: bytes.length >> 1 }),
    times: 1,
    blob: "right",
    manifest: gatewayError,
    manifestCause: /body of .*UND_ERR_SOCKET|ECONNRESET/,
  },
  "the body breaks in the middle of each try": {
    behaviour: ({ bytes }) => ({ cutAfterBytes: Math.ceil(bytes.length / 3) }),
    blob: "right",
    manifest: gatewayError,
    manifestCause: /body of .*UND_ERR_SOCKET|ECONNRESET/,
  },
  "each try breaks before the body's first byte": {
    behaviour: { cutAfterBytes: 0 },
    // No manifest lists it, so its first bytes are waited for.
    blob: gatewayError,
    blobCause: /body of .*UND_ERR_SOCKET|ECONNRESET/,
    manifest: gatewayError,
    manifestCause: /body of .*UND_ERR_SOCKET|ECONNRESET/,
  },
  "no answer, for ever": {
    impatient: "headerTimeoutMs",
    behaviour: { stallAfterBytes: 0, ...pausedForEver() },
    ...all(timeout, /TIMEOUT/),
  },
  "the body stalls, once": {
    impatient: "idleTimeoutMs",
    behaviour: ({ bytes }) => ({ stallAfterBytes: bytes.length >> 1 }),
    times: 1,
    blob: "right",
    manifest: timeout,
    manifestCause: /BODY_TIMEOUT/,
  },
  "the body stalls, each time": {
    impatient: "idleTimeoutMs",
    behaviour: { stallAfterBytes: 0 },
    blob: timeout,
    blobCause: /BODY_TIMEOUT/,
    manifest: timeout,
    manifestCause: /BODY_TIMEOUT/,
  },
  "a short body": {
    behaviour: ({ bytes }) => ({ body: bytes.subarray(0, bytes.length >> 1), announceLength: bytes.length }),
    blob: "broken",
    blobCause: /body of/,
    manifest: gatewayError,
    manifestCause: /body of/,
  },
  "a short body, once": {
    behaviour: ({ bytes }) => ({ body: bytes.subarray(0, bytes.length >> 1), announceLength: bytes.length }),
    times: 1,
    blob: "right",
    manifest: gatewayError,
    manifestCause: /body of/,
  },
  "a short body that does not say its length": {
    behaviour: ({ bytes }) => ({ body: bytes.subarray(0, bytes.length >> 1), announceLength: false }),
    blob: "broken",
    blobCause: /digest is sha256:/,
    manifest: gatewayError,
    manifestCause: /does not have the digest/,
  },
  "a long body, of which the announced part is right": {
    behaviour: ({ bytes }) => ({ body: Buffer.concat([bytes, bytes]), announceLength: bytes.length }),
    ...all("right"),
  },
  "a long body that does not say its length": {
    behaviour: ({ bytes }) => ({ body: Buffer.concat([bytes, Buffer.from(" ")]), announceLength: false }),
    blob: "broken",
    blobCause: /digest is sha256:/,
    manifest: gatewayError,
    manifestCause: /does not have the digest/,
  },
  "wrong content": {
    behaviour: ({ bytes }) => ({ corruptByteAt: bytes.length >> 1 }),
    blob: "broken",
    blobCause: /digest is sha256:/,
    manifest: gatewayError,
    manifestCause: /does not have the digest/,
  },
  "content that is wrong in its last byte": {
    behaviour: ({ bytes }) => ({ corruptByteAt: bytes.length - 1 }),
    blob: "broken",
    blobCause: /digest is sha256:/,
    manifest: gatewayError,
    manifestCause: /does not have the digest/,
  },
  "no content at all": {
    behaviour: { body: "" },
    blob: gatewayError,
    blobCause: /digest is sha256:/,
    manifest: gatewayError,
    manifestCause: /does not have the digest/,
  },
  "a Content-Length that is too small": {
    behaviour: ({ bytes }) => ({ announceLength: bytes.length - 1 }),
    blob: "broken",
    blobCause: /digest is sha256:/,
    manifest: gatewayError,
    manifestCause: /does not have the digest/,
  },
  "a Content-Length that is too large": {
    behaviour: ({ bytes }) => ({ announceLength: bytes.length + 1 }),
    blob: "broken",
    blobCause: /body of|bytes now/,
    manifest: gatewayError,
    manifestCause: /body of/,
  },
  "no Content-Length": { behaviour: { announceLength: false }, ...all("right") },
  "a web page": {
    behaviour: { headers: { "content-type": "text/html; charset=utf-8" }, body: "<html>Log in</html>" },
    blob: gatewayError,
    blobCause: /HTML/,
    manifest: gatewayError,
    manifestCause: /digest/,
  },
  "a web page without a digest": {
    behaviour: {
      headers: { "content-type": "text/html", "docker-content-digest": undefined },
      body: "<html>Log in</html>",
    },
    blob: gatewayError,
    blobCause: /HTML/,
    manifest: [502, "MANIFEST_INVALID"],
    manifestByDigest: gatewayError,
    manifestCause: /JSON|digest/,
  },
  "text that is nothing": {
    behaviour: { headers: { "docker-content-digest": undefined }, body: bodyText.repeat(10_000) },
    blob: "broken",
    blobCause: /digest is sha256:/,
    manifest: [502, "MANIFEST_INVALID"],
    manifestByDigest: gatewayError,
    manifestCause: /JSON|digest/,
  },
  ...Object.fromEntries(
    [`application/${bodyText}`, `application/vnd.${bodyText}.manifest.v1+json`].map((mediaType): [string, Fault] => [
      `a manifest of a made-up type, ${mediaType}`,
      {
        behaviour: {
          headers: { "docker-content-digest": undefined },
          body: JSON.stringify({ schemaVersion: 2, mediaType, layers: [], text: bodyText.repeat(10_000) }),
        },
        blob: gatewayError,
        blobCause: /digest is sha256:/,
        manifest: [502, "MANIFEST_INVALID"],
        manifestByDigest: gatewayError,
        manifestCause: /mediaType|digest/,
      },
    ]),
  ),
  "a compressed body": {
    behaviour: { gzip: true },
    blob: gatewayError,
    blobCause: /digest is .*encoded/,
    manifest: gatewayError,
    manifestCause: /does not have the digest/,
  },
  "401 without a challenge": { behaviour: { status: 401, body: "" }, ...denied },
  "401 with a challenge that cannot be met": { behaviour: { challenge: 'Negotiate realm="x"' }, ...denied },
  "403": { behaviour: { status: 403 }, ...denied },
  "404": { behaviour: { status: 404 }, ...absent },
  "429 with Retry-After": {
    behaviour: { status: 429, headers: { "retry-after": "60" } },
    ...all([503, "TOOMANYREQUESTS"], /status 429/),
    retryAfter: "60",
  },
  "429": { behaviour: { status: 429 }, ...all([503, "TOOMANYREQUESTS"], /status 429/) },
  "500, once": { behaviour: { status: 500 }, times: 1, ...all("right") },
  "500": { behaviour: { status: 500 }, ...all(gatewayError, /status 500/) },
  "502": { behaviour: { status: 502 }, ...all(gatewayError, /status 502/) },
  "503": { behaviour: { status: 503 }, ...all(gatewayError, /status 503/) },
  "418": { behaviour: { status: 418 }, ...all(gatewayError, /status 418/) },
  "a redirect to a dead host": {
    behaviour: ({ deadHost }) => ({ redirectTo: `http://${deadHost}/store?signature=${signature}` }),
    ...all(gatewayError, /ECONNREFUSED/),
  },
  "a redirect to a store that refuses the signature": {
    behaviour: ({ other }) => ({ redirectTo: `http://${other.host}/v2/store?signature=${signature}` }),
    prepare: ({ other }) => other.when({ path: "/v2/store" }, { status: 403 }),
    blob: gatewayError,
    blobCause: /status 403/,
    manifest: denied.manifest,
  },
  "a redirect loop": {
    behaviour: ({ upstream, path }) => ({ redirectTo: `http://${upstream.host}${path}` }),
    ...all(gatewayError, /redirects do not end/),
  },
  "a redirect to nowhere": {
    behaviour: { redirectTo: "", headers: { location: undefined } },
    ...all(gatewayError, /Location/),
  },
  "the token server hangs up": {
    where: { path: "/token" },
    behaviour: { hangUp: true },
    prepare: needsToken,
    ...all(gatewayError, /token/),
  },
  "the token server fails": {
    where: { path: "/token" },
    behaviour: { status: 503 },
    prepare: needsToken,
    ...all(gatewayError, /status 503/),
  },
  "the token server does not answer": {
    impatient: "headerTimeoutMs",
    where: { path: "/token" },
    behaviour: { stallAfterBytes: 0, ...pausedForEver() },
    prepare: needsToken,
    ...all(gatewayError, /TIMEOUT/),
  },
  "the token server sends no token": {
    where: { path: "/token" },
    behaviour: { body: "{}" },
    prepare: needsToken,
    ...all(gatewayError, /token/),
  },
  "the token server refuses": { where: { path: "/token" }, behaviour: { status: 401 }, prepare: needsToken, ...denied },
  "a slow drip": {
    impatient: "idleTimeoutMs",
    behaviour: ({ bytes }) => ({ dripBytes: Math.ceil(bytes.length / 60), dripEveryMs: 20 }),
    ...all("right"),
  },
};

/** Never answers. */
function pausedForEver(): Behaviour {
  const never = new Promise<void>(() => undefined);
  return { pauseAt: { reached: never, arrivals: () => never, wait: () => never, release: () => undefined } };
}

/** What a pull showed. */
interface Pulled {
  /** An error where the pull failed otherwise than by a body that broke. */
  readonly outcome: Outcome | Error;
  readonly body: Buffer;
  readonly retryAfter?: unknown;
  readonly challenge?: unknown;
}

async function pull(mirror: Mirror, path: string): Promise<Pulled> {
  const signal = AbortSignal.timeout(patienceMs);
  try {
    const { status, headers, body } = await mirror.get(path, { signal });
    const shown = { body, retryAfter: headers["retry-after"], challenge: headers["www-authenticate"] };
    if (status === 200) return { outcome: "right", ...shown };
    const { errors } = JSON.parse(body.toString()) as { errors: { code: string }[] };
    return { outcome: [status, errors[0]?.code ?? ""], ...shown };
  } catch (error) {
    return { outcome: error instanceof BrokenBody ? "broken" : errorOf(error), body: Buffer.alloc(0) };
  }
}

/** What is behind the folder of a mirror; the folder may have no room for a blob. */
type Behind = "nothing" | "a bucket" | "a bucket alone";

/** One fault, in a namespace of its own. */
interface Trial {
  readonly fault: Fault;
  readonly namespace: string;
  readonly world: World;
  /** The digest of what is pulled. */
  readonly digest: Digest;
}

/** What came of all trials of a kind. */
interface Seen {
  readonly what: Behind;
  readonly trials: ReadonlyMap<string, Trial>;
  /** By namespace: the pull while the upstream has the fault, and that from another mirror when it is well again. */
  readonly first: ReadonlyMap<string, Pulled>;
  readonly second: ReadonlyMap<string, Pulled>;
  /** What the first mirror has left. */
  readonly stored: Stored;
  /** What it has left in the bucket, and what the second one, whose folder was empty. */
  readonly kept: readonly [first: Kept, second: Kept] | undefined;
  /** By namespace, with a bucket: the pull from a third mirror, whose folder is empty, without upstreams. */
  readonly third: ReadonlyMap<string, Pulled>;
  readonly log: readonly Record<string, unknown>[];
}

async function prepare(fault: Fault, kind: Kind, namespace: string, deadHost: string): Promise<Trial> {
  const upstream = await createUpstream();
  const other = await createUpstream();
  const blob = pseudoRandomBytes(size, `fault ${namespace}`);
  const layer = upstream.addBlob(blob, { repository: "library/test" });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: { mediaType: mediaTypes.empty, digest: layer, size },
      layers: [],
      annotations: { text: namespace.padEnd(2000, "x") },
    }),
  );
  const manifestDigest = upstream.addManifest("library/test", "1", manifest);
  const [path, bytes, digest] = {
    blob: [`/v2/library/test/blobs/${layer}`, blob, layer] as const,
    "manifest by tag": ["/v2/library/test/manifests/1", manifest, manifestDigest] as const,
    "manifest by digest": [`/v2/library/test/manifests/${manifestDigest}`, manifest, manifestDigest] as const,
  }[kind];
  const world: World = { upstream, other, deadHost, path, bytes };
  fault.prepare?.(world);
  const behaviour = typeof fault.behaviour === "function" ? fault.behaviour(world) : fault.behaviour;
  upstream.when({ ...(fault.where ?? { path }), ...(fault.times !== undefined && { times: fault.times }) }, behaviour);
  return { fault, namespace, world, digest };
}

/** Pulls from all upstreams, some at a time, through one mirror; it has ended then, and all that a pull has set off. */
async function pullAll(
  trials: readonly Trial[],
  root: string,
  settings: (trial: Trial) => MirrorOptions["upstream"],
  bucket?: MirrorOptions,
): Promise<{ pulled: Map<string, Pulled>; mirror: Mirror }> {
  const others = trials.map((trial) => ({
    namespace: trial.namespace,
    host: trial.world.upstream.host,
    accounts: [{ kind: "password" as const, username: "mirror", password }],
    ...settings(trial),
  }));
  await using mirror = await startMirror("127.0.0.1:1", { root, others, ...bucket });
  const waiting = trials.values();
  const pulled = new Map<string, Pulled>();
  const lanes = Array.from({ length: 12 }, async () => {
    for (const { namespace, world } of waiting) {
      pulled.set(namespace, await pull(mirror, `${world.path}?ns=${namespace}`));
    }
  });
  await Promise.all(lanes);
  // What is to be copied to a bucket would be given up at the end, as the next process makes up for it.
  await mirror.app.idle();
  return { pulled, mirror };
}

/** With a bucket, other than in the soak, those of which bytes come, right or wrong: what is no answer never gets there. */
function faultsWith(what: Behind): [name: string, fault: Fault][] {
  const hasBytes = ({ blob, blobCause }: Fault): boolean =>
    blob === "right" || blob === "broken" || /digest|HTML|body/.test(String(blobCause));
  return Object.entries(faults).filter(([, fault]) => what === "nothing" || soaks || hasBytes(fault));
}

/** A bucket behind a mirror's folder, to which blobs go in several parts while they are on their way. */
async function behind(bucket: FakeS3, what: Behind): Promise<MirrorOptions> {
  const partSizeBytes = 128 * 1024;
  const storage = what === "a bucket alone" ? { maxObjectBytes: 1024 } : {};
  return { storage, bucketStore: await untriedBucket(bucket, { partSizeBytes }), followedBytes: partSizeBytes };
}

async function tryAll(kind: Kind, what: Behind): Promise<Seen> {
  await using folder = await createTemporaryDirectory();
  await using bucket = what === "nothing" ? undefined : await FakeS3.start();
  const options = async (): Promise<MirrorOptions | undefined> => bucket && behind(bucket, what);
  const dead = await createListener(() => undefined);
  const trials = new Map<string, Trial>();
  await using upstreams = new AsyncDisposableStack();
  for (const [name, fault] of faultsWith(what)) {
    const trial = await prepare(fault, kind, `fault-${trials.size}.example.com`, dead.host);
    upstreams.use(trial.world.upstream);
    upstreams.use(trial.world.other);
    trials.set(name, trial);
  }
  await dead.down();
  const all = [...trials.values()];
  const [root = "", ...others] = ["first", "second", "third"].map((name) => `${folder.path}/${name}`);
  // What is behind a folder is there to be found by another one.
  const [second = root, third = root] = bucket === undefined ? [] : others;
  const impatient = ({ fault }: Trial): MirrorOptions["upstream"] =>
    fault.impatient === undefined ? {} : { [fault.impatient]: soonMs };
  const { pulled, mirror } = await pullAll(all, root, impatient, await options());
  const stored = await inspectStorage(root);
  const firstKept = bucket && inspectBucket(bucket);
  for (const { world } of all) world.upstream.behave();
  const later = await pullAll(all, second, () => ({}), await options());
  const secondKept = bucket && inspectBucket(bucket);
  const last = bucket && (await pullAll(all, third, () => ({ host: dead.host }), await options()));
  const kept = firstKept && secondKept && ([firstKept, secondKept] as const);
  return {
    what,
    trials,
    first: pulled,
    second: later.pulled,
    third: last?.pulled ?? new Map(),
    stored,
    kept,
    log: mirror.log(),
  };
}

function wantedOf({ fault }: Trial, kind: Kind): Outcome {
  if (kind === "blob") return fault.blob;
  return (kind === "manifest by digest" ? fault.manifestByDigest : undefined) ?? fault.manifest;
}

/** Warnings and worse, but for what is said of each request. */
function warningsIn(log: Seen["log"]): Record<string, unknown>[] {
  return log.filter((line) => Number(line["level"]) >= 40 && line["msg"] !== "request");
}

function expectFault(seen: Seen, kind: Kind, faultName: string): void {
  const { what, trials, first, second, third, stored, kept, log } = seen;
  const trial = trials.get(faultName);
  assert.ok(trial !== undefined);
  const { fault, namespace, world, digest } = trial;
  const wanted = wantedOf(trial, kind);
  const cause = kind === "blob" ? fault.blobCause : fault.manifestCause;
  // What the client sees.
  const answer = first.get(namespace);
  assert.deepEqual(answer?.outcome, wanted);
  assert.equal(answer.retryAfter, fault.retryAfter);
  assert.equal(answer.challenge, undefined);
  if (wanted === "right") assert.ok(answer.body.equals(world.bytes));
  // What is stored.
  assert.equal(stored.blobs.includes(digest), wanted === "right" && what !== "a bucket alone");
  const own = stored.files.filter((path) => path.startsWith(`repositories/${namespace}/`));
  if (wanted !== "right") assert.deepEqual(own, []);
  // What is logged.
  const warnings = warningsIn(log).filter((line) => line["namespace"] === namespace);
  assert.equal(warnings.length, cause === undefined ? 0 : 1, JSON.stringify(warnings, undefined, 1));
  if (cause !== undefined) assert.match(JSON.stringify(warnings[0]?.["err"]), cause);
  // And the next pull from an upstream that is well again.
  const later = second.get(namespace);
  assert.equal(later?.outcome, "right");
  assert.equal(later.challenge, undefined);
  assert.ok(later.body.equals(world.bytes));
  // The bucket has what is right, and gives it when both the folder and the upstream are gone.
  if (kept === undefined) return;
  assert.equal(kept[0].blobs.includes(digest), wanted === "right");
  const records = kept[0].records.filter((key) => key.startsWith(`repositories/${namespace}/`));
  if (what === "a bucket") assert.equal(records.length, own.length);
  else assert.equal(records.length, wanted === "right" ? 1 : 0);
  const last = third.get(namespace);
  assert.equal(last?.outcome, "right");
  assert.ok(last.body.equals(world.bytes));
}

/** What no single fault has to answer for. */
function expectNothingElse({ what, trials, stored, kept, log }: Seen, kind: Kind): void {
  const right = [...trials.values()].filter((trial) => wantedOf(trial, kind) === "right");
  const digests = right.map(({ digest }) => digest).toSorted();
  assert.deepEqual(stored.blobs, what === "a bucket alone" ? [] : digests);
  assert.deepEqual(stored.temporary, []);
  if (kept !== undefined) {
    assert.deepEqual(kept[0].blobs, digests);
    assert.deepEqual(kept[1].blobs, [...trials.values()].map(({ digest }) => digest).toSorted());
  }
  // An instance on a bucket has a name.
  const others = stored.files.filter((path) => !/^(?:(?:blobs|repositories)\/|state\/instance$)/.test(path));
  assert.deepEqual(others, ["format"]);
  const namespaces = new Set<unknown>([...trials.values()].map(({ namespace }) => namespace));
  assert.deepEqual(
    warningsIn(log).filter((line) => !namespaces.has(line["namespace"])),
    [],
  );
  const secrets = [password, signature, bodyText, Buffer.from(`mirror:${password}`).toString("base64"), "token-"];
  for (const line of log.map((each) => JSON.stringify(each))) {
    for (const secret of secrets) assert.ok(!line.includes(secret), `the log has ${secret}: ${line}`);
  }
}

// One mirror for all faults of a kind: an upstream that fails must not be felt by the others.
for (const [what, which] of [
  ["nothing", kinds],
  // Manifests take one way to a bucket, however they are asked for.
  ["a bucket", ["blob", "manifest by tag"]],
  ["a bucket alone", ["blob"]],
] as const) {
  for (const kind of which) {
    describe(`the upstream's answer for a ${kind}, with ${what} behind the folder:`, () => {
      let seen: Seen;
      before(async () => {
        seen = await tryAll(kind, what);
      });
      for (const [fault] of faultsWith(what)) {
        test(fault, () => expectFault(seen, kind, fault));
      }
      test("and nothing else is stored or warned of, and no line of the log has a secret", () =>
        expectNothingElse(seen, kind));
    });
  }
}

test("a broken transfer is taken up where it broke, and the client does not see it", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const bytes = pseudoRandomBytes(1_000_000, "resumed");
  const digest = upstream.addBlob(bytes);
  const path = `/v2/library/test/blobs/${digest}`;
  upstream.when({ path, times: 1 }, { cutAfterBytes: 400_000 });
  upstream.when({ path, times: 1 }, { cutAfterBytes: 300_000 });
  const { status, headers, body } = await mirror.get(path);
  assert.equal(status, 200);
  assert.equal(headers["content-length"], "1000000");
  assert.ok(body.equals(bytes));
  const [first, ...later] = upstream.requests.map(({ headers: asked }) => asked.range);
  assert.equal(first, undefined);
  assert.equal(later.length, 2);
  // What had been received but not read when the connection broke is asked for again.
  const again = upstream.bytesSent({ path }) - 1_000_000;
  assert.ok(again >= 0 && again <= 2 * 128 * 1024, `${again} bytes came twice`);
  const [second, third] = later.map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]));
  assert.ok(Number(second) > 400_000 - 128 * 1024 && Number(third) > Number(second));
  assert.equal(await mirror.metric("entrepot_fill_resumes_total"), 2);
});

test("an upstream that ignores Range is read from the start again, and the client does not see it", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const bytes = pseudoRandomBytes(1_000_000, "repeated");
  const digest = upstream.addBlob(bytes);
  const path = `/v2/library/test/blobs/${digest}`;
  upstream.when({ path, times: 1 }, { cutAfterBytes: 400_000 });
  upstream.when({ path }, { ignoreRange: true });
  const { body } = await mirror.get(path);
  assert.ok(body.equals(bytes));
  assert.equal(upstream.count({ path }), 2);
  assert.equal(upstream.requests[1]?.status, 200);
});

test("content that changed while the transfer was broken makes no complete answer", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const bytes = pseudoRandomBytes(1_000_000, "changed");
  const digest = upstream.addBlob(bytes);
  const path = `/v2/library/test/blobs/${digest}`;
  upstream.when({ path, times: 1 }, { cutAfterBytes: 400_000 });
  upstream.when({ path, times: 1 }, { corruptByteAt: 500_000 });
  await assert.rejects(mirror.get(path), BrokenBody);
  await mirror.logged({ msg: "the fill failed" });
  assert.deepEqual((await inspectStorage(mirror.root)).files, ["format"]);
  assert.ok((await mirror.get(path)).body.equals(bytes));
});

test("a slow drip reaches the client as it comes, and a reader of a part gets its part", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const bytes = pseudoRandomBytes(300_000, "dripped");
  const digest = upstream.addBlob(bytes);
  const path = `/v2/library/test/blobs/${digest}`;
  upstream.when({ path }, { stallAfterBytes: 100_000 });
  using whole = await open(`${mirror.url}${path}`);
  assert.ok((await whole.take(100_000)).equals(bytes.subarray(0, 100_000)));
  using part = await open(`${mirror.url}${path}`, { headers: { range: "bytes=1000-60999" } });
  assert.equal(part.status, 206);
  assert.equal(part.headers["content-range"], "bytes 1000-60999/300000");
  // All but the last bytes, which wait for the blob's digest.
  assert.ok((await part.take(40_000)).equals(bytes.subarray(1000, 41_000)));
  upstream.behave();
  assert.ok((await whole.rest()).equals(bytes.subarray(100_000)));
  assert.ok((await part.rest()).equals(bytes.subarray(41_000, 61_000)));
});

test("a body that is longer than the manifest says is refused", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { layers: 1, layerBytes: 100_000 });
  {
    await using earlier = await startMirror(upstream.host, { root: folder.path });
    await earlier.get("/v2/library/test/manifests/1");
  }
  await using mirror = await startMirror(upstream.host, { root: folder.path });
  const [, layer = ""] = image.blobs;
  const path = `/v2/library/test/blobs/${layer}`;
  upstream.when({ path, times: 1 }, { body: Buffer.alloc(1_000_000), announceLength: false });
  await assert.rejects(mirror.get(path), BrokenBody);
  const { err } = (await mirror.logged({ msg: "the fill failed" })) as { err: Error };
  assert.match(err.message, /longer than/);
  // Without a length of the upstream's, the manifest's is announced.
  upstream.when({ path, times: 1 }, { announceLength: false });
  const { headers, body } = await mirror.get(path);
  assert.equal(headers["content-length"], String(body.length));
});

test("where an upstream leads to fills no log: of what fails there no more is told than is of use", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const location = `http://127.0.0.1:1/${"x".repeat(50_000)}`;
  upstream.when({ method: "GET" }, { status: 307, headers: { location } });
  assert.equal((await mirror.get(`/v2/library/test/blobs/sha256:${"0".repeat(64)}`)).status, 502);
  await mirror.logged({ msg: "request" });
  const longest = Math.max(...mirror.log().map((line) => JSON.stringify(line).length));
  assert.ok(longest < 5_000, `a line has ${longest} characters`);
});
