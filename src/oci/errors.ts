/*
 * The errors that have a meaning to a client (distribution-spec, "Error Codes"), in one table.
 *
 * `OciError` is the only error that says what a client should be told. Everything below `http/` that fails for
 * another reason throws its own `Error` subclass, and `http/reply` decides what the client sees.
 */

/**
 * A code of the distribution specification, or one that distribution's own implementation added to it; five are
 * HTTP's own: CONFLICT, CONTENT_TOO_LARGE, PRECONDITION_FAILED, REQUEST_INVALID and UNSUPPORTED_MEDIA_TYPE.
 */
export type OciErrorCode =
  | "BLOB_UNKNOWN"
  | "BLOB_UPLOAD_INVALID"
  | "BLOB_UPLOAD_UNKNOWN"
  | "CONFLICT"
  | "CONTENT_TOO_LARGE"
  | "DENIED"
  | "DIGEST_INVALID"
  | "MANIFEST_BLOB_UNKNOWN"
  | "MANIFEST_INVALID"
  | "MANIFEST_UNKNOWN"
  | "NAME_INVALID"
  | "NAME_UNKNOWN"
  | "NOT_FOUND"
  | "PAGINATION_NUMBER_INVALID"
  | "PRECONDITION_FAILED"
  | "RANGE_INVALID"
  | "REQUEST_INVALID"
  | "SIZE_INVALID"
  | "TAG_INVALID"
  | "TOOMANYREQUESTS"
  | "UNAUTHORIZED"
  | "UNAVAILABLE"
  | "UNKNOWN"
  | "UNSUPPORTED"
  | "UNSUPPORTED_MEDIA_TYPE"
  | "URI_TOO_LONG";

const table: Record<OciErrorCode, { readonly status: number; readonly message: string }> = {
  BLOB_UNKNOWN: { status: 404, message: "blob unknown to the registry" },
  BLOB_UPLOAD_INVALID: { status: 400, message: "blob upload invalid" },
  BLOB_UPLOAD_UNKNOWN: { status: 404, message: "blob upload unknown to the registry" },
  CONFLICT: { status: 409, message: "that does not go together with what is" },
  CONTENT_TOO_LARGE: { status: 413, message: "the request's body is too large" },
  DENIED: { status: 403, message: "access to the resource is denied" },
  DIGEST_INVALID: { status: 400, message: "the digest is not valid" },
  MANIFEST_BLOB_UNKNOWN: { status: 404, message: "the manifest references an unknown manifest or blob" },
  MANIFEST_INVALID: { status: 400, message: "the manifest is invalid" },
  MANIFEST_UNKNOWN: { status: 404, message: "manifest unknown to the registry" },
  NAME_INVALID: { status: 400, message: "invalid repository name" },
  NAME_UNKNOWN: { status: 404, message: "repository name not known to the registry" },
  NOT_FOUND: { status: 404, message: "no such resource" },
  PAGINATION_NUMBER_INVALID: { status: 400, message: "invalid number of results requested" },
  PRECONDITION_FAILED: { status: 412, message: "the content is not the one that the request is for (If-Match)" },
  RANGE_INVALID: { status: 416, message: "the requested range cannot be satisfied" },
  REQUEST_INVALID: { status: 400, message: "the request is not valid" },
  SIZE_INVALID: { status: 400, message: "the content's size does not match what was announced" },
  TAG_INVALID: { status: 400, message: "the tag is not valid" },
  TOOMANYREQUESTS: { status: 429, message: "too many requests" },
  UNAUTHORIZED: { status: 401, message: "authentication required" },
  UNAVAILABLE: { status: 503, message: "the service is not available" },
  UNKNOWN: { status: 500, message: "internal error" },
  UNSUPPORTED: { status: 405, message: "the operation is unsupported" },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, message: "the request's body is of a type that is not read here" },
  URI_TOO_LONG: { status: 414, message: "the request's target is too long" },
};

/**
 * A failure with a meaning to the client: it becomes `{"errors":[{code, message, detail}]}`.
 *
 * `message` and `detail` are sent to the client, so they must hold no secret and no internal address.
 */
export class OciError extends Error {
  override readonly name = "OciError";
  readonly code: OciErrorCode;
  readonly detail: unknown;

  constructor(code: OciErrorCode, message?: string, options: { detail?: unknown; cause?: unknown } = {}) {
    super(message ?? table[code].message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail;
  }

  /** The HTTP status that belongs to the code. */
  get status(): number {
    return table[this.code].status;
  }
}
