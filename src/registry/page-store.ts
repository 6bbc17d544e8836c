import type { ObjectStore } from "../store/object-store.ts";
import type { Bookkeeping } from "./bookkeeping.ts";
import { isPageRecord, type Page, type PageRecord } from "../store/content-records.ts";
import { formatPlace, type PageKind, pageKey, pageName, type RepositoryId } from "../store/layout.ts";
import { Records } from "./records.ts";

/** The pages of listings, for when the upstream is away: of each kind a repository has 257 places. */
export class PageStore {
  readonly #books: Bookkeeping;
  readonly #records: Records<PageRecord>;

  constructor(store: ObjectStore, books: Bookkeeping) {
    this.#books = books;
    this.#records = new Records(store, { isRecord: isPageRecord, maxInMemory: 0 });
  }

  /** A page as it was stored last, unless another one has taken its place since. */
  async get(id: RepositoryId, kind: PageKind, request: string): Promise<Page | undefined> {
    const record = await this.#records.get(pageKey(id, kind, request));
    return record?.request === request ? record.page : undefined;
  }

  /** Stores a page, in the place of another one perhaps. */
  async set(id: RepositoryId, page: PageKind, request: string, content: Page): Promise<void> {
    const name = pageName(request);
    await this.#records.set(pageKey(id, page, request), { request, page: content }, false, {
      admit: async (sizeBytes) => {
        const change = { kind: "page", id, page, name, sizeBytes, at: this.#books.now() } as const;
        await this.#books.admit(id.namespace, change, sizeBytes);
        return true;
      },
      correct: async (stored) => {
        if (stored === undefined) await this.#books.note({ kind: "page-removed", id, page, name });
      },
    });
  }

  /** Removes a page by the last part of its key. */
  async remove(id: RepositoryId, page: PageKind, name: string): Promise<void> {
    await this.#records.remove(formatPlace({ kind: "page", id, page, name }), async (erase) => {
      await erase();
      await this.#books.note({ kind: "page-removed", id, page, name });
    });
  }
}
