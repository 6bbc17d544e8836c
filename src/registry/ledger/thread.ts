import { parentPort, workerData } from "node:worker_threads";
import { openFilesystemReader } from "../../store/filesystem-reader.ts";
import { Keeper } from "./keeper.ts";
import type { LedgerMessage, LedgerThreadData } from "./messages.ts";

/* The ledger's thread: it owns the database, and reads the store where the two may differ. */
const port = parentPort;
if (port === null) throw new Error("the ledger's thread runs as a worker thread only");

const { path, root, retryMs, now } = workerData as LedgerThreadData;
const keeper = new Keeper({
  path,
  retryMs,
  now,
  reader: openFilesystemReader(root),
  reply: (reply) => port.postMessage(reply),
});
port.on("message", (message: LedgerMessage) => keeper.handle(message));
