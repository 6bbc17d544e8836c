import type { Digest } from "../oci/digest.ts";
import type { Namespace, Repository, Tag } from "../oci/reference.ts";
import type { PageKind, RepositoryId } from "../store/layout.ts";

/** What an object takes of a disk beyond its bytes is up to its last block: sizes are counted in whole blocks. */
const blockBytes = 4096;

/** What an object of `sizeBytes` is counted as. A small record counts as one block. */
export function chargedBytes(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / blockBytes)) * blockBytes;
}

/**
 * Something that happens to the store, as the ledger is told of it. What is added is told (and awaited) before it is
 * written, what is removed after it is gone: so the ledger knows of everything that lies in the store, also after
 * SIGKILL. It may know of some things that do not, and of a tag that it stands for what it does not (yet): that is so
 * between a telling and its write, and after one that failed, until the true state is told or the files are read. A
 * power failure may also take what was told last. Times are milliseconds since 1970.
 */
export type LedgerChange =
  /** Content of a digest is about to be stored. */
  | { readonly kind: "content"; readonly digest: Digest; readonly sizeBytes: number; readonly at: number }
  | { readonly kind: "link"; readonly id: RepositoryId; readonly digest: Digest; readonly at: number }
  | {
      readonly kind: "tag";
      readonly id: RepositoryId;
      readonly tag: Tag;
      readonly digest: Digest;
      readonly at: number;
    }
  /** A stored listing; `name` is the last part of its key. */
  | {
      readonly kind: "page";
      readonly id: RepositoryId;
      readonly page: PageKind;
      readonly name: string;
      readonly sizeBytes: number;
      readonly at: number;
    }
  /** What a manifest refers to: whoever uses it in a repository uses these there, too. */
  | { readonly kind: "children"; readonly digest: Digest; readonly children: readonly Digest[] }
  /** A repository's manifest or blob was used, a manifest perhaps by tag. */
  | {
      readonly kind: "use";
      readonly id: RepositoryId;
      readonly digest: Digest;
      readonly tag?: Tag;
      readonly at: number;
    }
  | { readonly kind: "content-removed"; readonly digest: Digest }
  | { readonly kind: "link-removed"; readonly id: RepositoryId; readonly digest: Digest }
  | { readonly kind: "tag-removed"; readonly id: RepositoryId; readonly tag: Tag }
  | { readonly kind: "page-removed"; readonly id: RepositoryId; readonly page: PageKind; readonly name: string };

/** What lies in the store, in charged bytes. Content that several repositories hold counts once. */
export interface Totals {
  readonly bytes: number;
  /** What each namespace holds; content that several namespaces hold counts fully in each. */
  readonly namespaces: ReadonlyMap<Namespace, number>;
}

/** What lies in the store's folder besides what is stored, as the ledger knows it, in bytes. */
export interface LedgerOverhead {
  /** The ledger's own files. */
  readonly ledgerBytes: number;
  /** The folders themselves; hardly less than they take. */
  readonly foldersBytes: number;
}

/** Something that can be removed to make room. */
export type Candidate =
  | {
      readonly kind: "link";
      readonly id: RepositoryId;
      readonly digest: Digest;
      readonly usedAt: number;
      /** Charged bytes that go from the store with it: also the content's where nobody else holds that. */
      readonly freesBytes: number;
    }
  | {
      readonly kind: "page";
      readonly id: RepositoryId;
      readonly page: PageKind;
      readonly name: string;
      readonly usedAt: number;
      readonly freesBytes: number;
    }
  /** Content that no repository holds. */
  | { readonly kind: "content"; readonly digest: Digest; readonly usedAt: number; readonly freesBytes: number };

/** Which candidates are wanted. */
export interface CandidateQuery {
  /** Only of these namespaces, where given. Content that nobody holds is of none: it is left out then. */
  readonly only?: readonly Namespace[];
  /** Not of these. What one of them holds may still be removed from other namespaces, where that frees no content. */
  readonly except?: readonly Namespace[];
  /** Only what was last used before this time. */
  readonly usedBefore: number;
  /** Only what was last used at this time or later; 0. */
  readonly usedFrom?: number;
  /** Patterns (`parsePin`) of what must stay. */
  readonly pins: readonly string[];
  readonly limit: number;
}

/** What holds a digest in a repository, at this moment. */
export interface Holding {
  /** Last use; `undefined` where the ledger knows of no link. */
  readonly usedAt: number | undefined;
  /** The repository's tags that stand for it. */
  readonly tags: readonly Tag[];
  /** Links of other repositories. */
  readonly otherHolders: number;
}

/** A namespace's content for people. */
export interface NamespaceUsage {
  readonly namespace: Namespace;
  readonly repositories: number;
  readonly bytes: number;
  readonly usedAt: number | undefined;
}

/** A repository's content for people; `bytes` counts what it shares with others, too. */
export interface RepositoryUsage extends RepositoryId {
  readonly tags: number;
  readonly bytes: number;
  readonly usedAt: number | undefined;
}

/** A tag, or a manifest that has none and is not part of an index, for people; `bytes` is all that it reaches and the store has. */
export interface TagUsage extends RepositoryId {
  readonly tag: Tag | undefined;
  readonly digest: Digest;
  readonly bytes: number;
  readonly usedAt: number | undefined;
  readonly pinned: boolean;
}

/** A part of a list, and where the next one begins; without `next` it is the last. */
export interface ListPart<T> {
  readonly items: readonly T[];
  readonly next: string | undefined;
}

/** What somebody wants to have removed. */
export type PurgeTarget =
  | { readonly kind: "namespace"; readonly namespace: Namespace }
  | { readonly kind: "repository"; readonly id: RepositoryId }
  /** The tag, and what only it reaches in its repository. */
  | { readonly kind: "tag"; readonly id: RepositoryId; readonly tag: Tag }
  /** A manifest with its tags, and what only it reaches in its repository; or a blob. */
  | { readonly kind: "digest"; readonly id: RepositoryId; readonly digest: Digest }
  /** A digest in every repository that holds it, manifests as above. */
  | { readonly kind: "content"; readonly digest: Digest };

/** What removing something comes to. Removed in this order, nothing ever points at what is gone. */
export interface PurgePlan {
  readonly tags: readonly { readonly id: RepositoryId; readonly tag: Tag; readonly digest: Digest }[];
  /** Manifests before what they refer to. */
  readonly links: readonly { readonly id: RepositoryId; readonly digest: Digest }[];
  readonly pages: readonly { readonly id: RepositoryId; readonly page: PageKind; readonly name: string }[];
  /** Content that nobody holds. */
  readonly contents: readonly Digest[];
  /** Charged bytes that go from the store. */
  readonly freesBytes: number;
  /**
   * Of a namespace or repository that holds very much, this is a part (of some 20,000 objects): when it is done, there
   * is another one to ask for.
   */
  readonly more?: boolean;
}

/**
 * Questions to the ledger. Each sees every change that was told before it, and is rejected with `LedgerNotReady` where
 * the ledger cannot answer.
 */
export interface LedgerQueries {
  /**
   * Least recently used first; of equally old ones, manifests before what they refer to. Content of no link is left out
   * while the files are still to be read, as its link may have been lost.
   *
   * @throws {LedgerNotReady} not all of the store is known
   */
  candidates(query: CandidateQuery): Promise<readonly Candidate[]>;
  /**
   * What stands for a digest in a repository, and who else has it.
   *
   * @throws {LedgerNotReady} not all of the store is known: a tag might be left that stands for what is removed
   */
  holding(id: RepositoryId, digest: Digest): Promise<Holding>;
  /**
   * The repositories that have a link to a digest.
   *
   * @throws {LedgerNotReady} not all of the store is known: there may be others
   */
  holders(digest: Digest): Promise<readonly RepositoryId[]>;
  /** Charged bytes of content that pins hold. */
  pinnedBytes(pins: readonly string[]): Promise<number>;
  namespaces(): Promise<readonly NamespaceUsage[]>;
  repositories(query: { namespace?: Namespace; after?: string; limit: number }): Promise<ListPart<RepositoryUsage>>;
  tags(query: {
    namespace: Namespace;
    repository: Repository;
    after?: string;
    limit: number;
    pins: readonly string[];
  }): Promise<ListPart<TagUsage>>;
  /** @throws {LedgerNotReady} not all of the store is known: a plan would take for unused what is not */
  purgePlan(target: PurgeTarget): Promise<PurgePlan>;
}

/**
 * The ledger cannot answer now: it does not know all of the store yet, so that nobody may remove anything by what it
 * says; or it cannot be read, or is closed.
 */
export class LedgerNotReady extends Error {
  override readonly name = "LedgerNotReady";

  constructor(
    message: string = "what is cached is being read from the storage: try again when that is done",
    options: ErrorOptions = {},
  ) {
    super(message, options);
  }
}

/**
 * What lies in the store, how large it is and when it was last used: derived from the files, which are the truth.
 *
 * It is kept by a thread of its own (`thread.ts`), in SQLite, in batches; no request waits for it. Where it is absent,
 * of another version, or found to be damaged, at any moment, it is rebuilt from the store in the background; until then
 * `totals` is `undefined`.
 */
export interface Ledger extends LedgerQueries {
  /**
   * `undefined` while it is not known what lies in the store. All that was told and acknowledged is in it, also while
   * the disk is full.
   */
  readonly totals: Totals | undefined;
  /** What is there besides; it is known whenever `totals` is. */
  readonly overhead: LedgerOverhead;
  /**
   * Resolves when the change is in the ledger, or is lost with it: a ledger that fails is rebuilt, and says so to its
   * observer. Rejects never. Of one object the last telling counts.
   */
  tell(change: LedgerChange): Promise<void>;
  /** Notes a use; cheap, told in batches. */
  use(id: RepositoryId, digest: Digest, tag?: Tag): void;
  /** Whether a use of this digest in this repository was noted that no answer of a query has seen yet. */
  isUsePending(id: RepositoryId, digest: Digest): boolean;
  /** Forgets everything and reads the store anew, in the background. Resolves when that is done, rejects where it fails. */
  rebuild(): Promise<void>;
  /** Writes what is pending, and ends the thread. */
  close(): Promise<void>;
}
