import assert from "node:assert/strict";
import type { Digest } from "../../src/oci/digest.ts";
import { Pusher } from "./hosted.ts";
import type { RequestOptions, WholeResponse } from "./http.ts";

/** What is so, as far as a client knows: several things where it has missed an answer. */
export class Fact<T> {
  possible: readonly T[];

  constructor(value: T) {
    this.possible = [value];
  }

  get isSure(): boolean {
    return this.possible.length === 1;
  }

  /** The only thing that it can be. */
  get value(): T {
    assert.ok(this.isSure);
    return this.possible[0] as T;
  }

  /** Takes what was found for what is so, which must be one of what can be. */
  settle(found: T, what: string): void {
    assert.ok(this.possible.includes(found), `${what} is ${String(found)}, and not ${this.possible.join(" or ")}`);
    this.possible = [found];
  }
}

/** A blob that was pushed, or removed. */
export interface Blob {
  readonly bytes: Buffer;
  readonly isThere: Fact<boolean>;
}

/** A manifest that was pushed, or removed. */
export interface Document {
  readonly document: object;
  readonly children: readonly Digest[];
  readonly subject: Digest | undefined;
  readonly isThere: Fact<boolean>;
}

/** An upload that was begun. */
export interface Upload {
  readonly location: string;
  readonly digest: Digest;
  readonly bytes: Buffer;
  /** So much was said to be stored. */
  toldBytes: number;
}

/** What a client knows of a repository to which nobody else pushes. */
export class Known {
  readonly blobs = new Map<Digest, Blob>();
  readonly documents = new Map<Digest, Document>();
  readonly tags = new Map<string, Fact<Digest | undefined>>();
  /** Those that were begun. */
  readonly uploads = new Set<Upload>();
  readonly pusher: Pusher;
  readonly name: string;

  constructor(name: string, ask: (path: string, options?: RequestOptions) => Promise<WholeResponse>) {
    this.name = name;
    this.pusher = new Pusher({ get: ask }, name);
  }
}

/** What manifests that are there are made of. */
export function usedIn(known: Known): ReadonlySet<Digest> {
  return new Set([...known.documents.values()].flatMap(({ isThere, children }) => (isThere.value ? children : [])));
}

/** Sees whether something is there, as it can be, and that it is what was pushed. */
export async function seeContent(
  { pusher, name }: Known,
  path: string,
  isThere: Fact<boolean>,
  bytes: Buffer,
): Promise<void> {
  const { status, body } = await pusher.ask(path);
  assert.ok(status === 200 || status === 404, `${name}${path}: ${status}`);
  isThere.settle(status === 200, `${name}${path}`);
  if (isThere.value) assert.ok(body.equals(bytes), `${name}${path} has other bytes`);
}

/** What is listed is what is there, and nothing of it dangles. */
export async function seeLists({ pusher, name, tags, documents, blobs }: Known): Promise<void> {
  const set = [...tags].flatMap(([tag, { value }]) => (value === undefined ? [] : [tag]));
  const listed = await pusher.ask("/tags/list");
  if (listed.status === 200) {
    assert.deepEqual(JSON.parse(listed.body.toString()).tags, set.toSorted(), name);
  } else
    assert.ok(
      [...documents.values(), ...blobs.values()].every(({ isThere }) => !isThere.value),
      name,
    );
  for (const { value } of tags.values()) {
    if (value !== undefined) assert.ok(documents.get(value)?.isThere.value, `a tag stands for ${value}, which is gone`);
  }
  const subjects = new Map<Digest, Digest[]>();
  for (const [digest, { isThere, subject, children }] of documents) {
    if (!isThere.value) continue;
    if (subject !== undefined) subjects.set(subject, [...(subjects.get(subject) ?? []), digest]);
    for (const child of children) {
      assert.ok((blobs.get(child) ?? documents.get(child))?.isThere.value, `${child} of ${digest} is gone`);
    }
  }
  for (const [subject, digests] of subjects) {
    const found = (await pusher.referrers(subject)).map(({ digest }) => digest);
    assert.deepEqual(found.toSorted(), digests.toSorted(), `what refers to ${subject}`);
  }
}
