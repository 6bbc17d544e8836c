import assert from "node:assert/strict";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { indexMediaType } from "../../src/oci/manifest.ts";
import { type Mirror, type MirrorOptions, plainHosted, startMirror } from "./mirror.ts";
import type { RequestOptions, WholeResponse } from "./http.ts";
import type { HostedConfig } from "../../src/config/hosted-schema.ts";

const imageMediaType = "application/vnd.oci.image.manifest.v1+json";

/** How a hosted namespace differs from the plain one. */
export interface HostedOptions extends MirrorOptions {
  readonly hosted?: Partial<HostedConfig>;
}

/** Starts a mirror that hosts the namespace `apps`; its upstream is not there, unless one is named. */
export function startHosted({ hosted, ...options }: HostedOptions = {}, upstream = "127.0.0.1:9"): Promise<Mirror> {
  return startMirror(upstream, { ...options, config: { hosted: [{ ...plainHosted, ...hosted }], ...options.config } });
}

/** A client that pushes to a repository of `apps`. */
export class Pusher {
  readonly path: string;
  readonly #mirror: Pick<Mirror, "get">;

  constructor(mirror: Pick<Mirror, "get">, repository = "team/web") {
    this.#mirror = mirror;
    this.path = `/v2/apps/${repository}`;
  }

  /** Asks for something below the repository. */
  ask(path: string, options?: RequestOptions): Promise<WholeResponse> {
    return this.#mirror.get(path.startsWith("/v2/") ? path : `${this.path}${path}`, options);
  }

  /** Opens an upload; its location. */
  async open(query = ""): Promise<string> {
    const { status, headers } = await this.ask(`/blobs/uploads/${query}`, { method: "POST" });
    assert.equal(status, 202);
    return String(headers.location);
  }

  patch(location: string, bytes: Buffer, start?: number): Promise<WholeResponse> {
    const range = start === undefined ? {} : { "content-range": `${start}-${start + bytes.length - 1}` };
    const headers = { "content-type": "application/octet-stream", "content-length": String(bytes.length), ...range };
    return this.ask(location, { method: "PATCH", headers, body: bytes });
  }

  put(location: string, digest: string, bytes?: Buffer, headers: Record<string, string> = {}): Promise<WholeResponse> {
    const length = { "content-length": String(bytes?.length ?? 0), ...headers };
    const body = bytes === undefined ? {} : { body: bytes };
    return this.ask(`${location}?digest=${digest}`, { method: "PUT", headers: length, ...body });
  }

  /** Pushes a blob in one request. */
  async blob(bytes: Buffer | string, digest: Digest = digestOf(Buffer.from(bytes))): Promise<Digest> {
    const { status, body } = await this.put(await this.open(), digest, Buffer.from(bytes));
    assert.equal(status, 201, body.toString());
    return digest;
  }

  /** Pushes a document as a manifest, which is refused perhaps. */
  manifest(reference: string, document: object, headers: Record<string, string> = {}): Promise<WholeResponse> {
    const type = (document as { mediaType?: string }).mediaType ?? imageMediaType;
    return this.ask(`/manifests/${reference}`, {
      method: "PUT",
      headers: { "content-type": type, ...headers },
      body: Buffer.from(JSON.stringify(document)),
    });
  }

  /** Pushes an image with its blobs. */
  async image(reference: string, content = reference, more: object = {}): Promise<Digest> {
    const document = await this.imageDocument(content, more);
    const { status, body } = await this.manifest(reference, document);
    assert.equal(status, 201, body.toString());
    return digestOfDocument(document);
  }

  /** Pushes the blobs of an image, and says what its manifest is. */
  async imageDocument(content: string, more: object = {}): Promise<object> {
    const config = Buffer.from(`{"of":${JSON.stringify(content)}}`);
    const layer = Buffer.from(`a layer of ${content}`);
    await this.blob(config);
    await this.blob(layer);
    return imageOf(config, [layer], more);
  }

  /** The digest that a reference stands for; `undefined` for nothing. */
  async digest(reference: string): Promise<string | undefined> {
    const { status, headers } = await this.ask(`/manifests/${reference}`, { method: "HEAD" });
    return status === 200 ? String(headers["docker-content-digest"]) : undefined;
  }

  async tags(query = ""): Promise<readonly string[]> {
    const { body } = await this.ask(`/tags/list${query}`);
    return (JSON.parse(body.toString()) as { tags: string[] }).tags;
  }

  async referrers(subject: string, query = ""): Promise<readonly { digest: string; artifactType?: string }[]> {
    const { status, body } = await this.ask(`/referrers/${subject}${query}`);
    assert.equal(status, 200);
    return (JSON.parse(body.toString()) as { manifests: { digest: string; artifactType?: string }[] }).manifests;
  }
}

/** An image's manifest. */
export function imageOf(config: Buffer, layers: readonly Buffer[], more: object = {}): object {
  return {
    schemaVersion: 2,
    mediaType: imageMediaType,
    config: descriptorOf(config, "application/vnd.oci.image.config.v1+json"),
    layers: layers.map((layer) => descriptorOf(layer, "application/vnd.oci.image.layer.v1.tar")),
    ...more,
  };
}

/** An index of manifests. */
export function indexOf(documents: readonly object[], more: object = {}): object {
  const manifests = documents.map((document) => descriptorOf(bytesOf(document), imageMediaType));
  return { schemaVersion: 2, mediaType: indexMediaType, manifests, ...more };
}

/** What refers to these bytes. */
export function descriptorOf(bytes: Buffer, mediaType = imageMediaType): object {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

/** A document as it is pushed. */
export function bytesOf(document: object): Buffer {
  return Buffer.from(JSON.stringify(document));
}

/** Its digest. */
export function digestOfDocument(document: object): Digest {
  return digestOf(bytesOf(document));
}

/** The code of an error's answer. */
export function codeOf({ body }: WholeResponse): string | undefined {
  return (JSON.parse(body.toString()) as { errors?: { code: string }[] }).errors?.[0]?.code;
}
