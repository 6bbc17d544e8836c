import { OciError } from "../oci/errors.ts";

/** What a list of pins works with. */
export interface PinListOptions {
  /** The patterns of the configuration, as `parse` writes them. */
  readonly configured: readonly string[];
  /**
   * Reads a pattern and writes it in its one form. What it throws for a bad one has a message for people.
   */
  readonly parse: (pattern: string) => string;
  /** The patterns that `save` was last given; none where it never was. */
  readonly load: () => Promise<readonly string[]>;
  readonly save: (patterns: readonly string[]) => Promise<void>;
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
  #added: readonly string[];
  #all: readonly string[];
  /** The last change: one is saved after the other, so that none is lost. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(options: PinListOptions, added: readonly string[]) {
    this.#options = options;
    this.#added = added;
    this.#all = [...new Set([...options.configured, ...added])];
  }

  /** Rejects as `load` does. */
  static async open(options: PinListOptions): Promise<PinList> {
    return new PinList(options, await options.load());
  }

  /** Every pattern that counts now; the same list until something changes. */
  get all(): readonly string[] {
    return this.#all;
  }

  get report(): PinReport {
    return { configured: this.#options.configured, added: this.#added };
  }

  /**
   * Adds a pattern; resolves when it is saved. One that is there already changes nothing.
   *
   * @throws {OciError} REQUEST_INVALID
   */
  async add(text: string): Promise<void> {
    const pattern = this.#parse(text);
    await this.#inTurn(async () => {
      if (!this.#all.includes(pattern)) await this.#replace([...this.#added, pattern]);
    });
  }

  /**
   * Takes away a pattern that was added; false where there is none such.
   *
   * @throws {OciError} REQUEST_INVALID; CONFLICT for a pattern of the configuration.
   */
  async remove(text: string): Promise<boolean> {
    const pattern = this.#parse(text);
    return this.#inTurn(async () => {
      if (this.#added.includes(pattern)) {
        await this.#replace(this.#added.filter((each) => each !== pattern));
        return true;
      }
      if (!this.#options.configured.includes(pattern)) return false;
      throw new OciError("CONFLICT", `${pattern} is a pin of the configuration, and can only be taken away there`);
    });
  }

  async #replace(added: readonly string[]): Promise<void> {
    await this.#options.save(added);
    this.#added = added;
    this.#all = [...new Set([...this.#options.configured, ...added])];
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
