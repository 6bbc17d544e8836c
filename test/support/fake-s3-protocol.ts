import type { FakeBucket, NamedPart } from "./fake-s3-bucket.ts";

/** What the fake server can be asked for. */
export type S3Operation =
  | "HeadObject"
  | "GetObject"
  | "PutObject"
  | "DeleteObject"
  | "ListObjectsV2"
  | "CreateMultipartUpload"
  | "UploadPart"
  | "CompleteMultipartUpload"
  | "AbortMultipartUpload"
  | "other";

/** An answer, whole. */
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

/** What a request asks for. */
export function operationOf(method: string, key: string, query: URLSearchParams): S3Operation {
  const ofUpload = query.has("uploadId");
  if (key === "") return method === "GET" && query.get("list-type") === "2" ? "ListObjectsV2" : "other";
  switch (method) {
    case "HEAD":
      return "HeadObject";
    case "GET":
      return ofUpload ? "other" : "GetObject";
    case "PUT":
      return ofUpload ? "UploadPart" : "PutObject";
    case "DELETE":
      return ofUpload ? "AbortMultipartUpload" : "DeleteObject";
    case "POST":
      return ofUpload ? "CompleteMultipartUpload" : query.has("uploads") ? "CreateMultipartUpload" : "other";
    default:
      return "other";
  }
}

/** A page of a listing, as ListObjectsV2 answers with it. */
export function listing({ page, isTruncated }: ReturnType<FakeBucket["list"]>): string {
  const contents = page.map(
    ([key, { bytes, etag, writtenAt }]) =>
      `<Contents><Key>${escaped(key)}</Key><LastModified>${new Date(writtenAt).toISOString()}</LastModified>` +
      `<ETag>${etag.replaceAll('"', "&quot;")}</ETag><Size>${bytes.length}</Size></Contents>`,
  );
  return `<IsTruncated>${isTruncated}</IsTruncated>${contents.join("")}`;
}

/** As S3 writes it: also what XML 1.0 has no way to write. */
function escaped(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll(/[&<>"\u0000-\u001f]/g, (found) => `&#x${found.charCodeAt(0).toString(16)};`);
}

/** The parts that a CompleteMultipartUpload names. */
export function partsIn(xml: string): NamedPart[] {
  return [...xml.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = ""]) => ({
    number: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
    etag: /<ETag>(.*?)</.exec(part)?.[1]?.replaceAll("&quot;", '"') ?? "",
    checksum: /<ChecksumCRC32>(.*?)</.exec(part)?.[1],
  }));
}

/** An answer of one element. */
export function xmlAnswer(name: string, content: string): Answer {
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?><${name}>${content}</${name}>`);
  return { status: 200, headers: { "content-type": "application/xml" }, body };
}
