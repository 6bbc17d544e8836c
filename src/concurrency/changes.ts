/** What some wait for to change, and others tell of. */
export class Changes {
  readonly #waiting = new Set<() => void>();

  /** Resolves at the next change; rejects with the reason when `signal` aborts before. */
  next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        signal.removeEventListener("abort", abort);
        resolve();
      };
      const abort = (): void => {
        this.#waiting.delete(settle);
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", abort, { once: true });
      this.#waiting.add(settle);
    });
  }

  /** Tells all who wait now. */
  tell(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const settle of waiting) settle();
  }
}
