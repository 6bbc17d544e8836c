import type { GetObjectCommandInput, S3 } from "@aws-sdk/client-s3";
import type { S3Connection } from "./s3-connection.ts";
import { msLeft } from "./s3-keys.ts";
import type { S3Options } from "./s3-options.ts";

/** Makes URLs with which anybody may read one object for a while. */
export class S3Presigner {
  readonly #connection: S3Connection;
  readonly #publicOrigin: URL | undefined;
  #loaded: Promise<(input: GetObjectCommandInput, expiresIn: number) => Promise<string>> | undefined;

  /** @throws {Error} the public endpoint has a path: it would be lost, as what is signed begins at the root. */
  constructor(connection: S3Connection, { publicEndpoint }: S3Options) {
    this.#connection = connection;
    this.#publicOrigin = publicEndpoint === undefined ? undefined : new URL(publicEndpoint);
    const { pathname = "/", search = "" } = this.#publicOrigin ?? {};
    if (pathname !== "/" || search !== "") {
      throw new Error(`public_endpoint ${publicEndpoint} has a path, which S3's signatures leave no room for`);
    }
  }

  /**
   * A URL to GET an object, also in ranges. It is signed for the public endpoint, and ends when the credentials do that
   * sign it, if that is earlier; they are renewed first where they end before.
   *
   * @throws {S3Failure} there are no credentials.
   */
  async sign(name: string, expiresInSeconds: number): Promise<string> {
    let leftMs = msLeft(await this.#connection.keys());
    if (leftMs < expiresInSeconds * 1000) leftMs = msLeft(await this.#connection.keys(true));
    const expiresIn = Math.max(1, Math.min(expiresInSeconds, Math.floor(leftMs / 1000)));
    this.#loaded ??= this.#load();
    const sign = await this.#loaded;
    return sign({ Bucket: this.#connection.place.bucket, Key: name }, expiresIn);
  }

  async #load(): Promise<(input: GetObjectCommandInput, expiresIn: number) => Promise<string>> {
    const [{ GetObjectCommand }, { getSignedUrl }] = await Promise.all([
      import("@aws-sdk/client-s3"),
      import("@aws-sdk/s3-request-presigner"),
    ]);
    const origin = this.#publicOrigin;
    const signer = origin === undefined ? this.#connection.client : await signerFor(origin, this.#connection);
    return (input, expiresIn) => getSignedUrl(signer, new GetObjectCommand(input), { expiresIn });
  }
}

/** A client that sends nothing. */
async function signerFor(origin: URL, connection: S3Connection): Promise<S3> {
  const { S3: Client } = await import("@aws-sdk/client-s3");
  const { region, forcePathStyle } = connection.client.config;
  return new Client({
    endpoint: origin.origin,
    region,
    forcePathStyle: forcePathStyle === true,
    credentials: () => connection.keys(),
    responseChecksumValidation: "WHEN_REQUIRED",
  });
}
