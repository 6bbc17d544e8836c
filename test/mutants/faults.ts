import type { Fault } from "./fault.ts";
import { bucket } from "./faults/bucket.ts";
import { bucketSettings } from "./faults/bucket-settings.ts";
import { chosenAgain } from "./faults/chosen-again.ts";
import { chosenBlind } from "./faults/chosen-blind.ts";
import { cli } from "./faults/cli.ts";
import { edges } from "./faults/edges.ts";
import { hostedBytes } from "./faults/hosted-bytes.ts";
import { hostedCollect } from "./faults/hosted-collect.ts";
import { hostedPush } from "./faults/hosted-push.ts";
import { hostedRecords } from "./faults/hosted-records.ts";
import { httpAdmin } from "./faults/http-admin.ts";
import { httpPull } from "./faults/http-pull.ts";
import { httpServer } from "./faults/http-server.ts";
import { jobsAdopt } from "./faults/jobs-adopt.ts";
import { jobsAsk } from "./faults/jobs-ask.ts";
import { jobsEvict } from "./faults/jobs-evict.ts";
import { jobsRun } from "./faults/jobs-run.ts";
import { jobsVerify } from "./faults/jobs-verify.ts";
import { ledgerMemory } from "./faults/ledger-memory.ts";
import { ledgerQuestions } from "./faults/ledger-questions.ts";
import { ledgerTables } from "./faults/ledger-tables.ts";
import { ledgerThread } from "./faults/ledger-thread.ts";
import { nodes } from "./faults/nodes.ts";
import { registry } from "./faults/registry.ts";
import { replicas } from "./faults/replicas.ts";
import { retention } from "./faults/retention.ts";
import { storeFolder } from "./faults/store-folder.ts";
import { storeReading } from "./faults/store-reading.ts";
import { storeS3 } from "./faults/store-s3.ts";
import { storeStreams } from "./faults/store-streams.ts";

/** What is known to be noticed. */
export const faults: readonly Fault[] = [
  ...storeFolder,
  ...storeReading,
  ...storeS3,
  ...storeStreams,
  ...ledgerThread,
  ...ledgerMemory,
  ...ledgerTables,
  ...ledgerQuestions,
  ...registry,
  ...bucket,
  ...retention,
  ...replicas,
  ...hostedBytes,
  ...hostedPush,
  ...hostedRecords,
  ...hostedCollect,
  ...nodes,
  ...jobsEvict,
  ...jobsRun,
  ...jobsVerify,
  ...jobsAsk,
  ...jobsAdopt,
  ...httpServer,
  ...httpPull,
  ...httpAdmin,
  ...cli,
  ...edges,
  ...bucketSettings,
  ...chosenBlind,
  ...chosenAgain,
];
