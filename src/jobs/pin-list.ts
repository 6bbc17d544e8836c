import { OciError } from "../oci/errors.ts";

/** What a list of pins works with. */
export interface PinListOptions {
  /** The patterns of the configuration, as `parse` writes them. */
  readonly configured: readonly string[];
  /**
   * Reads a pattern and writes it in its one form. What it throws for a bad one has a message for people.
   */
  readonly parse: (pattern: string) => string;
  /** The patterns that `save` was last given; none where it never was. Rejects where that cannot be told. */
  readonly load: () => Promise<readonly string[]>;
  readonly save: (patterns: readonly string[]) => Promise<void>;
  /** Told when `load` fails. */
  readonly onError: (error: unknown) => void;
}

/** The patterns of what is never evicted, by where they come from. */
export interface PinReport {
  /** Those of the configuration; only there can they be taken away. */
  readonly configured: readonly string[];
  /** Those that were added since, which survive a restart. */
  readonly added: readonly string[];
}

/** The pins: those of the configuration, and those that were added while it ran. */
export class PinList {
  readonly #options: PinListOptions;
  /** `undefined` as long as they could not be loaded: what was never read must not be written anew. */
  #added: readonly string[] | undefined;
  #all: readonly string[];
  /** The last change: one is saved after the other, so that none is lost. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(options: PinListOptions) {
    this.#options = options;
    this.#all = options.configured;
  }

  /**
   * Loads what was added. Where that fails only the configuration's count, until somebody asks for the pins or changes
   * them: then they are loaded again.
   */
  static async open(options: PinListOptions): Promise<PinList> {
    const list = new PinList(options);
    // It was told, and a disk that cannot be read must not keep the mirror from passing on what it is asked for.
    await list.#load().catch(() => undefined);
    return list;
  }

  /** Every pattern that is known to count now; the same list until something changes. */
  get all(): readonly string[] {
    return this.#all;
  }

  /** Whether those that were added could be loaded. */
  get isWhole(): boolean {
    return this.#added !== undefined;
  }

  /** @throws {OciError} UNAVAILABLE where those that were added cannot be loaded. */
  async report(): Promise<PinReport> {
    const added = await this.#inTurn(() => this.#load());
    return { configured: this.#options.configured, added };
  }

  /**
   * Adds a pattern; resolves when it is saved. One that is there already changes nothing.
   *
   * @throws {OciError} REQUEST_INVALID; UNAVAILABLE where those that were added cannot be loaded.
   */
  async add(text: string): Promise<void> {
    const pattern = this.#parse(text);
    await this.#inTurn(async () => {
      const added = await this.#load();
      if (!this.#all.includes(pattern)) await this.#replace([...added, pattern]);
    });
  }

  /**
   * Takes away a pattern that was added; false where there is none such.
   *
   * @throws {OciError} REQUEST_INVALID; CONFLICT for a pattern of the configuration; UNAVAILABLE where those that were
   *   added cannot be loaded.
   */
  async remove(text: string): Promise<boolean> {
    const pattern = this.#parse(text);
    return this.#inTurn(async () => {
      const added = await this.#load();
      if (added.includes(pattern)) {
        await this.#replace(added.filter((each) => each !== pattern));
        return true;
      }
      if (!this.#options.configured.includes(pattern)) return false;
      throw new OciError("CONFLICT", `${pattern} is a pin of the configuration, and can only be taken away there`);
    });
  }

  /** Those that were added; loads them where that has not succeeded yet. */
  async #load(): Promise<readonly string[]> {
    if (this.#added !== undefined) return this.#added;
    const { load, onError } = this.#options;
    try {
      return this.#become(await load());
    } catch (error) {
      onError(error);
      throw new OciError("UNAVAILABLE", "the pins that were added cannot be read", { cause: error });
    }
  }

  async #replace(added: readonly string[]): Promise<void> {
    await this.#options.save(added);
    this.#become(added);
  }

  #become(added: readonly string[]): readonly string[] {
    this.#added = added;
    this.#all = [...new Set([...this.#options.configured, ...added])];
    return added;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  #parse(text: string): string {
    try {
      return this.#options.parse(text);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new OciError("REQUEST_INVALID", `the pin: ${error.message}`, { cause: error });
    }
  }
}
