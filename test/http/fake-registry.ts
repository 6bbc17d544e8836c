import assert from "node:assert/strict";
import type { IncomingHttpHeaders } from "node:http";
import { createHandler } from "../../src/http/handler.ts";
import type { Facts, Reply } from "../../src/http/reply.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { type Namespace, parseNamespace } from "../../src/oci/reference.ts";
import { Namespaces } from "../../src/registry/namespaces.ts";
import type { Answer, BlobContent, CacheStatus, ManifestContent, PullRegistry } from "../../src/registry/registry.ts";
import { never } from "../support/event-loop.ts";
import { manifestContent, mediaTypes } from "../support/image.ts";

/** A registry that answers what a test says, and notes what it was asked. */
export interface FakeRegistry extends PullRegistry {
  /** `manifest library/a latest`, in order. */
  readonly asked: string[];
}

const absent = async (): Promise<undefined> => undefined;

/** A registry in which everything that is not given is absent. */
export function createFakeRegistry(answers: Partial<PullRegistry> = {}): FakeRegistry {
  const asked: string[] = [];
  const registry: PullRegistry = {
    resolve: absent,
    manifest: absent,
    statBlob: absent,
    openBlob: absent,
    tags: absent,
    referrers: absent,
    ...answers,
  };
  const note = (...question: readonly string[]): void => {
    asked.push(question.join(" "));
  };
  return {
    asked,
    resolve: (repository, reference) => {
      note("resolve", repository, reference);
      return registry.resolve(repository, reference);
    },
    manifest: (repository, reference) => {
      note("manifest", repository, reference);
      return registry.manifest(repository, reference);
    },
    statBlob: (repository, digest) => {
      note("statBlob", repository, digest);
      return registry.statBlob(repository, digest);
    },
    openBlob: (repository, digest) => {
      note("openBlob", repository, digest);
      return registry.openBlob(repository, digest);
    },
    tags: (repository, query) => {
      note("tags", repository, query);
      return registry.tags(repository, query);
    },
    referrers: (repository, subject, query) => {
      note("referrers", repository, subject, query);
      return registry.referrers(repository, subject, query);
    },
  };
}

/** A blob in memory; `closed` counts how often it was closed. */
export interface FakeBlob extends BlobContent {
  closed: number;
}

/** Makes a blob that can be read and must be closed once. */
export function fakeBlob(bytes: Buffer, sizeBytes: number | undefined = bytes.length): FakeBlob {
  const blob: FakeBlob = {
    sizeBytes,
    closed: 0,
    async *read(span) {
      yield bytes.subarray(span?.start ?? 0, span?.end ?? bytes.length);
    },
    async close() {
      blob.closed++;
    },
  };
  return blob;
}

/** A manifest with its descriptor. */
export function fakeManifest(mediaType: string = mediaTypes.manifest): ManifestContent {
  const content = /index|list/.test(mediaType) ? "manifests" : "layers";
  return manifestContent(Buffer.from(`{"schemaVersion":2,  "${content}":[],"mediaType":"${mediaType}"}`), mediaType);
}

/** An answer with this cache status; a hit where none is given. */
export function answered<T>(value: T, cache: CacheStatus = { hit: true }): () => Promise<Answer<T>> {
  return async () => ({ value, cache });
}

/** What a client sees of a reply. */
export interface Seen {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly facts: Facts;
}

/** Asks a mirror whose docker.io is `registry`, and whose ghcr.io is another that has nothing. */
export async function ask(
  registry: PullRegistry,
  target: string,
  options: {
    readonly method?: string;
    readonly headers?: IncomingHttpHeaders;
    /** The setting `accel_redirect`. */
    readonly accelRedirect?: string;
  } = {},
): Promise<Seen> {
  const dockerHub = parseNamespace("docker.io");
  const handler = createHandler(
    new Namespaces({
      rules: { ofServerName: () => undefined, defaultNamespace: dockerHub, emptyNamespace: dockerHub },
      listed: new Map<Namespace, PullRegistry>([
        [dockerHub, registry],
        [parseNamespace("ghcr.io"), createFakeRegistry()],
      ]),
      allowsUnlisted: () => false,
      openUnlisted: () => assert.fail("an unlisted namespace was opened"),
    }),
    options.accelRedirect,
  );
  const facts: Facts = { endpoint: "other" };
  const { method = "GET", headers = {} } = options;
  const reply = await handler({ method, target, headers }, facts);
  const body = await readBody(reply);
  const length = reply.headers["Content-Length"];
  if (method !== "HEAD" && length !== undefined) assert.equal(body.length, length, "Content-Length");
  return { status: reply.status, headers: lowerCase(reply.headers), body, facts };
}

async function readBody({ body }: Reply): Promise<Buffer> {
  if (body === undefined) return Buffer.alloc(0);
  if (body instanceof Uint8Array) return Buffer.from(body);
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of body.read(never())) chunks.push(Buffer.from(chunk));
  } finally {
    await body.close();
  }
  return Buffer.concat(chunks);
}

function lowerCase(headers: Reply["headers"]): Record<string, string> {
  const seen: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    const key = name.toLowerCase();
    assert.ok(!(key in seen), `${name} is there twice`);
    seen[key] = String(value);
  }
  return seen;
}

/** Asserts an error in OCI form (protocol, 1.8), with all that errors below `/v2/` carry; returns its message. */
export function assertError(seen: Seen, status: number, code: string, tried = ""): string {
  const text = seen.body.toString();
  assert.equal(seen.status, status, `${tried} ${text}`);
  assert.equal(seen.headers["content-type"], "application/json");
  assert.equal(seen.headers["docker-distribution-api-version"], "registry/2.0");
  assert.equal(seen.headers["x-content-type-options"], "nosniff");
  assert.equal(seen.headers["www-authenticate"], undefined);
  const document = JSON.parse(text) as { errors: { code: string; message: string }[] };
  assert.deepEqual(Object.keys(document), ["errors"]);
  assert.equal(document.errors.length, 1);
  const [error] = document.errors;
  assert.equal(error?.code, code, tried);
  assert.ok(error.message.length > 0);
  return error.message;
}

/** The digest of some other content. */
export const otherDigest: Digest = digestOf(Buffer.from("something else"));
