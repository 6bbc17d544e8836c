/** Keys of AWS, or of what speaks its protocol. */
export interface S3Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Belongs to keys that are temporary. */
  readonly sessionToken?: string;
  /** When they end; without it they do not. */
  readonly expiration?: Date;
}

/** A bucket, and how it is spoken to. */
export interface S3Options {
  readonly bucket: string;
  /** Where S3 is, in place of AWS's own: `https://s3.example.com`. It is for S3 alone, never for the credentials. */
  readonly endpoint?: string | undefined;
  /** The bucket's region; without it that of AWS's settings, or `us-east-1` at an endpoint of one's own. */
  readonly region?: string | undefined;
  /** What comes before each key, without slashes at its ends; none by default. */
  readonly prefix?: string | undefined;
  /** Whether the bucket is named in the path; by default at an endpoint of one's own. */
  readonly forcePathStyle?: boolean | undefined;
  /** The keys, or who gets them (asked again before they end); without them AWS's default chain. */
  readonly credentials?: S3Keys | (() => Promise<S3Keys>) | undefined;
  /** Certificates that are trusted besides those that Node trusts, as PEM. */
  readonly caPem?: string | undefined;
  readonly insecureSkipVerify?: boolean | undefined;
  readonly serverSideEncryption?: "AES256" | "aws:kms" | "aws:kms:dsse" | undefined;
  readonly kmsKeyId?: string | undefined;
  /** As S3 names it: `STANDARD_IA`, … */
  readonly storageClass?: string | undefined;
  /** How large the parts of an upload are, at least; an upload has one or two of them in memory. 8 MiB. */
  readonly partSizeBytes?: number | undefined;
  /** What the parts of all uploads may take for one to have a second part in memory, too. 64 MiB, or two parts. */
  readonly partMemoryBytes?: number | undefined;
  /**
   * Whether writes carry S3's own checksums. Several servers that speak S3 refuse them, so at an endpoint of one's own
   * `when_required` is the default, at AWS `when_supported`.
   */
  readonly checksums?: "when_required" | "when_supported" | undefined;
  /** How many connections there may be. 50. */
  readonly maxSockets?: number | undefined;
  /** 3 s. */
  readonly connectTimeoutMs?: number | undefined;
  /** For an answer to begin, and for each next piece of it; waiting for a connection counts. 20 s. */
  readonly requestTimeoutMs?: number | undefined;
  /** How often a request is repeated. 3. */
  readonly retries?: number | undefined;
  /** Where clients reach the bucket, if not at the endpoint: presigned URLs are signed for it. It has no path. */
  readonly publicEndpoint?: string | undefined;
}

export const defaultPartSizeBytes = 8 * 1024 * 1024;
export const defaultPartMemoryBytes = 64 * 1024 * 1024;
export const defaultRetries = 3;
export const defaultRequestTimeoutMs = 20_000;
export const defaultConnectTimeoutMs = 3000;
export const defaultMaxSockets = 50;
