/** Equal questions that are asked at once are asked once; all askers get the one answer, or the one error. */
export class SingleFlight<Value> {
  readonly #flights = new Map<string, Promise<Value>>();

  /** Runs `work`, or joins the run under `key` that has begun. Look-up and insertion happen in one tick. */
  run(key: string, work: () => Promise<Value>): { readonly answer: Promise<Value>; readonly joined: boolean } {
    const flying = this.#flights.get(key);
    if (flying !== undefined) return { answer: flying, joined: true };
    const answer = work().finally(() => this.#flights.delete(key));
    this.#flights.set(key, answer);
    return { answer, joined: false };
  }
}
