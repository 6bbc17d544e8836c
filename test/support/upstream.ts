import type { IncomingMessage, ServerResponse } from "node:http";
import type { Digest } from "../../src/oci/digest.ts";
import { type Answer, errorAnswer, jsonAnswer, type OpenRecord, send } from "./answer.ts";
import { type Behaviour, createScript, type Match, matches, type RecordedRequest } from "./behaviour.ts";
import { contentOf, largeContent } from "./content.ts";
import { buildImage, type ImageOptions, mediaTypes } from "./image.ts";
import { createListener } from "./listener.ts";
import { createRegistryContent } from "./registry-content.ts";
import { basic, createTokenGate, type TokenGate, type TokenIssuer, type TokenOptions } from "./token-issuer.ts";

export type { Behaviour, Match, RecordedRequest } from "./behaviour.ts";

/** An image that was added. */
export interface AddedImage {
  /** What the tag stands for: the index, or the only manifest. */
  readonly digest: Digest;
  /** The platforms' manifests, the index not among them. */
  readonly manifests: readonly Digest[];
  /** Configurations and layers, each once. */
  readonly blobs: readonly Digest[];
}

/** What an upstream is like from its start. */
export interface UpstreamOptions {
  /** Whether it has the referrers API; true. */
  readonly referrers?: boolean;
  /** How long connections may stay open when the test is over, before that is an error; 2000. */
  readonly graceMs?: number;
}

/**
 * A registry for tests: HTTP on 127.0.0.1, pull only. It behaves well unless it was told otherwise with `when`, and
 * keeps a record of every request.
 */
export interface ScriptedUpstream extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  /** All requests in the order in which they came. */
  readonly requests: readonly RecordedRequest[];
  /** Adds a blob to one repository, or to every one. `digest` overrides the computed one (sha512, or a lie). */
  addBlob(bytes: Buffer, options?: { repository?: string; digest?: Digest }): Digest;
  /** Adds a blob that is made as it is sent, so that it may be larger than memory; to every repository. */
  addLargeBlob(sizeBytes: number, seed: number): Digest;
  /**
   * Adds a manifest; its type is `mediaType`, else the document's own, else that of an OCI image manifest; its digest is
   * of SHA-256 unless another one is given.
   */
  addManifest(
    repository: string,
    tag: string | undefined,
    document: object | Buffer,
    mediaType?: string,
    digest?: Digest,
  ): Digest;
  /** Adds an image with real layers; other bytes for each repository, tag and `seed`. */
  addImage(repository: string, tag: string, options?: ImageOptions): AddedImage;
  /** Adds a manifest whose `subject` is another one. */
  addReferrer(repository: string, subject: Digest, artifactType: string): Digest;
  setTag(repository: string, tag: string, digest: Digest): void;
  removeTag(repository: string, tag: string): void;
  /** Asks for misbehaviour. The first entry that fits a request is used, `times` times at most. */
  when(match: Match & { readonly times?: number }, behaviour: Behaviour): void;
  /** Takes back all that was asked for with `when`. */
  behave(): void;
  /** From now on everything needs a token, which `/token` issues; `when({path: "/token"}, …)` breaks that. */
  requireToken(options?: TokenOptions): TokenIssuer;
  /** From now on everything needs this name and password. */
  requireBasic(credentials: { readonly username: string; readonly password: string }): void;
  /** Stops listening and resets all connections. */
  down(): Promise<void>;
  /** Listens again, on the same port. */
  up(): Promise<void>;
  /** How many requests fit. */
  count(match: Match): number;
  /** How many bytes of bodies were sent to the requests that fit. */
  bytesSent(match: Match): number;
  /** Resolves with the request that is number `count` (1) of those that fit, at once when it was there already. */
  arrived(match: Match, count?: number): Promise<RecordedRequest>;
  /** Ends the upstream; fails when connections stay open, which means that somebody has not closed their client. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a scripted upstream on a free port. */
export async function createUpstream(options: UpstreamOptions = {}): Promise<ScriptedUpstream> {
  const { referrers = true, graceMs = 2000 } = options;
  const content = createRegistryContent(referrers);
  const script = createScript();
  const requests: RecordedRequest[] = [];
  const failures: unknown[] = [];
  let expected: { match: Match; count: number; resolve: (request: RecordedRequest) => void }[] = [];
  let gate: TokenGate | undefined;
  let authorization: string | undefined;

  const listener = await createListener((incoming, response) => {
    serve(incoming, response).catch((error: unknown) => {
      failures.push(error);
      response.destroy();
    });
  });
  const { host } = listener;

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => {}); // A client that has left; `send` sees "close".
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    response.once("close", resolve);
    const [path = "", query = ""] = (incoming.url ?? "").split(/\?(.*)/s, 2);
    const { method = "GET", headers } = incoming;
    const request: OpenRecord = {
      method,
      path,
      query,
      headers,
      body: method === "GET" || method === "HEAD" ? "" : await readText(incoming),
      status: undefined,
      bytesSent: 0,
      closed,
    };
    requests.push(request);
    const behaviour = script.take(request) ?? {};
    announce(request);
    await send(request, response, answer(request), behaviour);
  }

  function announce(request: RecordedRequest): void {
    expected = expected.filter(({ match, count, resolve }) => {
      const here = requests.filter((other) => matches(match, other)).length >= count;
      if (here) {
        resolve(request);
      }
      return !here;
    });
  }

  function answer(request: RecordedRequest): Answer {
    const { method, path, query, headers } = request;
    if (path === "/token" && gate !== undefined) {
      return gate.issue(request);
    }
    if (method !== "GET" && method !== "HEAD") {
      return errorAnswer(405, "UNSUPPORTED");
    }
    if (path !== "/v2/" && !path.startsWith("/v2/")) {
      return errorAnswer(404, "NOT_FOUND");
    }
    const [, repository] = /^\/v2\/(.+)\/(?:blobs|manifests|tags|referrers)\/[^/]+$/.exec(path) ?? [];
    const refused = gate?.check(request, repository);
    if (refused !== undefined) {
      return refused;
    }
    if (authorization !== undefined && headers.authorization !== authorization) {
      return errorAnswer(401, "UNAUTHORIZED", { "www-authenticate": 'Basic realm="scripted"' });
    }
    return path === "/v2/" ? jsonAnswer(200, {}) : content.answer(path, new URLSearchParams(query));
  }

  function fitting(match: Match): RecordedRequest[] {
    return requests.filter((request) => matches(match, request));
  }

  const upstream: ScriptedUpstream = {
    host,
    requests,
    addBlob(bytes, { repository, digest } = {}) {
      const blob = contentOf(bytes, digest);
      content.addBlob(blob, repository);
      return blob.digest;
    },
    addLargeBlob(sizeBytes, seed) {
      const blob = largeContent(sizeBytes, seed);
      content.addBlob(blob, undefined);
      return blob.digest;
    },
    addManifest(repository, tag, document, mediaType, digest) {
      const bytes = Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document));
      const own = "mediaType" in document && typeof document.mediaType === "string" ? document.mediaType : undefined;
      return content.addManifest(repository, tag, bytes, mediaType ?? own ?? mediaTypes.manifest, digest);
    },
    addImage(repository, tag, imageOptions = {}) {
      const image = buildImage({ ...imageOptions, seed: `${repository}:${tag} ${imageOptions.seed ?? ""}` });
      for (const bytes of image.blobs.values()) {
        content.addBlob(contentOf(bytes), repository);
      }
      for (const { manifest } of image.platforms) {
        content.addManifest(repository, undefined, manifest.bytes, manifest.mediaType);
      }
      content.addManifest(repository, tag, image.root.bytes, image.root.mediaType);
      return {
        digest: image.root.digest,
        manifests: image.platforms.map(({ manifest }) => manifest.digest),
        blobs: [...image.blobs.keys()],
      };
    },
    addReferrer(repository, subject, artifactType) {
      const empty = upstream.addBlob(Buffer.from("{}"), { repository });
      const descriptor = { mediaType: mediaTypes.empty, digest: empty, size: 2 };
      return upstream.addManifest(repository, undefined, {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        artifactType,
        config: descriptor,
        layers: [descriptor],
        subject: { mediaType: mediaTypes.manifest, digest: subject, size: 1 },
      });
    },
    setTag: (repository, tag, digest) => content.setTag(repository, tag, digest),
    removeTag: (repository, tag) => content.removeTag(repository, tag),
    when({ times, ...match }, behaviour) {
      script.add(match, behaviour, times);
    },
    behave: () => script.clear(),
    requireToken(tokenOptions = {}) {
      gate = createTokenGate(host, tokenOptions);
      return gate;
    },
    requireBasic(credentials) {
      authorization = basic(credentials);
    },
    down: () => listener.down(),
    up: () => listener.up(),
    count: (match) => fitting(match).length,
    bytesSent: (match) => fitting(match).reduce((sum, { bytesSent }) => sum + bytesSent, 0),
    arrived(match, count = 1) {
      const request = fitting(match)[count - 1];
      if (request !== undefined) {
        return Promise.resolve(request);
      }
      const { promise, resolve } = Promise.withResolvers<RecordedRequest>();
      expected.push({ match, count, resolve });
      return promise;
    },
    async [Symbol.asyncDispose]() {
      const open = await listener.openAfter(graceMs);
      await listener.down();
      if (failures.length > 0) {
        throw new AggregateError(failures, "the scripted upstream itself failed");
      }
      if (open > 0) {
        const unfinished = requests.filter(({ status }) => status === undefined).map(({ path }) => path);
        throw new Error(`${open} connections to ${host} stayed open; unanswered: ${unfinished.join(", ") || "none"}`);
      }
    },
  };
  return upstream;
}

async function readText(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
