/** Nobody waits for an answer any more, so that it was not asked for. */
export class Abandoned extends Error {
  override readonly name = "Abandoned";

  constructor() {
    super("nobody waits for the answer any more");
  }
}

/** Who may want an answer: a client until it leaves, or all those together who wait for what the answer is for. */
export interface Asker {
  /** Whether somebody waits now. */
  readonly isWaiting: boolean;
  /** Calls `look` whenever that has changed, until what is returned is called. */
  watch(look: () => void): () => void;
}

/**
 * Who waits for an answer, so that what waits in a queue for those alone who have left gives its place up. What has been
 * sent goes on: its answer is of use to who asks next.
 */
export class Interest implements Asker {
  #askers = 0;
  #isLost = false;
  readonly #watchers = new Set<() => void>();

  get isWaiting(): boolean {
    return this.#askers > 0;
  }

  /** Whether it was given up: whoever comes now is too late, and has to ask anew. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Counts an asker for as long as it waits, or until what is returned is called; without one, somebody who stays. */
  join(asker?: Asker): () => void {
    let isCounted = false;
    const count = (waits: boolean): void => {
      if (waits === isCounted) return;
      isCounted = waits;
      this.#askers += waits ? 1 : -1;
      for (const look of this.#watchers) look();
    };
    if (asker === undefined) {
      count(true);
      return () => count(false);
    }
    const look = (): void => count(asker.isWaiting);
    const stop = asker.watch(look);
    look();
    return () => {
      stop();
      count(false);
    };
  }

  /** For as long as something waits, until what is returned is called: `giveUp` is told when nobody wants it any more. */
  queue(giveUp: (reason: Abandoned) => void): () => void {
    const look = (): void => {
      if (this.isWaiting) return;
      stop();
      this.#isLost = true;
      giveUp(new Abandoned());
    };
    const stop = this.watch(look);
    look();
    return stop;
  }

  watch(look: () => void): () => void {
    this.#watchers.add(look);
    return () => this.#watchers.delete(look);
  }
}
