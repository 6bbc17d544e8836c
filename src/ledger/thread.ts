import { constants, getPriority, platform, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { ThreadReader } from "../store/thread-reader.ts";
import { Keeper } from "./keeper.ts";
import type { LedgerMessage, LedgerThreadData } from "./messages.ts";

/* The ledger's thread: it owns the database, and reads the store where the two may differ. */
const port = parentPort;
if (port === null) throw new Error("the ledger's thread runs as a worker thread only");

// On Linux a priority is a thread's own: when there is not enough for all, those who serve clients come first.
// A process that runs with less may not raise it.
const { PRIORITY_BELOW_NORMAL: low } = constants.priority;
if (platform() === "linux" && getPriority() < low) setPriority(low);

const { root, ...data } = workerData as LedgerThreadData;
const keeper = new Keeper({
  ...data,
  reader: new ThreadReader(root),
  reply: (reply) => port.postMessage(reply),
});
port.on("message", (message: LedgerMessage) => keeper.handle(message));
