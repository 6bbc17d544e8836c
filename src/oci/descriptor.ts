import type { Digest } from "./digest.ts";

/** What a piece of content is (image-spec, descriptor.md): its type, its digest, and its size in bytes. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}
