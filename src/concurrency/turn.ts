import { setImmediate as nextTurn } from "node:timers/promises";

/** A document of this size takes about a millisecond to read, one as large as may be some tens. */
const largeBytes = 256 * 1024;

let last: Promise<void> = Promise.resolve();

/**
 * Resolves when it is a document's turn to be hashed and parsed, which the caller then does at once. Large ones, from
 * wherever, come one in a turn of the event loop, so that forty that arrive together keep nobody else waiting for more
 * than one. A thread would not help: what it had parsed would have to be built here once more, at the same cost.
 */
export async function turnToRead(bytes: Uint8Array): Promise<void> {
  if (bytes.length < largeBytes) return;
  last = last.then(() => nextTurn());
  await last;
}
