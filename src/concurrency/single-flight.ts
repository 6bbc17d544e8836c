import { type Asker, Interest } from "./interest.ts";

/** A question that runs, perhaps one that somebody else has begun. */
export interface Flight<Value> {
  readonly answer: Promise<Value>;
  readonly joined: boolean;
}

interface Running<Value> {
  readonly answer: Promise<Value>;
  readonly interest: Interest;
}

/** Equal questions that are asked at once are asked once; all askers get the one answer, or the one error. */
export class SingleFlight<Value> {
  readonly #flights = new Map<string, Running<Value>>();

  /**
   * Runs `work`, or joins the run under `key` that has begun. Look-up and insertion happen in one tick.
   *
   * @param work Told who waits for it: those who have joined and are still there.
   * @param asker Who waits; without one, somebody who stays.
   */
  run(key: string, work: (interest: Interest) => Promise<Value>, asker?: Asker): Flight<Value> {
    const flying = this.#flights.get(key);
    if (flying?.interest.isLost === false) {
      join(flying, asker);
      return { answer: flying.answer, joined: true };
    }
    const interest = new Interest();
    const leave = interest.join(asker);
    const answer = work(interest).finally(() => {
      leave();
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    const flight = { answer, interest };
    this.#flights.set(key, flight);
    return { answer, joined: false };
  }
}

function join({ answer, interest }: Running<unknown>, asker: Asker | undefined): void {
  const leave = interest.join(asker);
  answer.then(leave, leave);
}
