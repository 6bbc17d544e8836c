import * as z from "zod";
import type { JobRequest } from "../jobs/job-request.ts";

/*
 * What the administration's API reads and writes. These schemas check requests, and the OpenAPI document is made from
 * them. Sizes are bytes, times milliseconds since 1970.
 */

const time = z.int().meta({ description: "Milliseconds since 1970." });
const bytes = z.int().min(0);
const count = z.int().min(0);
const usedAt = time.optional().meta({ description: "When it was last used, in milliseconds since 1970." });
const names = { namespace: z.string(), repository: z.string() };

/** A part of a list is asked for by these. */
const part = {
  after: z.string().min(1).optional().meta({ description: "The `next` of the part before." }),
  limit: z
    .preprocess((text) => (/^\d{1,4}$/.test(String(text)) ? Number(text) : text), z.int().min(1).max(1000))
    .default(100)
    .meta({ description: "Items in the answer, at most." }),
};

function listOf(item: z.ZodType): z.ZodType {
  return z.strictObject({
    items: z.array(item),
    next: z.string().optional().meta({ description: "Where the next part begins; absent from the last one." }),
  });
}

const namespaceUsage = { namespace: z.string(), repositories: count, bytes, usedAt };

/** A `UsageReport`. */
export const usageSchema: z.ZodType = z.strictObject({
  bytes: bytes.meta({ description: "What the store holds, in whole blocks of 4 KiB." }),
  exact: z.boolean().meta({ description: "False while the ledger is rebuilt: `bytes` is all that the volume holds." }),
  reservedBytes: bytes.meta({ description: "Set aside for what is being stored." }),
  besides: z
    .strictObject({
      ledgerBytes: bytes.meta({ description: "The ledger's own files." }),
      foldersBytes: bytes.meta({ description: "The folders themselves." }),
      quarantineBytes: bytes.meta({ description: "Damaged content that was put aside." }),
      othersBytes: bytes.meta({ description: "What the mirror remembers, and what could not be removed." }),
      hostedBytes: bytes.meta({ description: "What is hosted, as far as it was counted." }),
      slackBytes: bytes.meta({ description: "Kept back for what is just being written." }),
    })
    .meta({ description: "What the folder takes besides; zeros where `exact` is false." }),
  limitBytes: bytes
    .optional()
    .meta({ description: "What `bytes`, `reservedBytes` and `besides` may come to; absent: no limit." }),
  volume: z.strictObject({ totalBytes: bytes, freeBytes: bytes }).optional(),
  pinnedBytes: bytes.meta({ description: "What pins keep." }),
  bucket: z
    .strictObject({
      by: z.string().meta({ description: "The instance that looked through it." }),
      at: time.meta({ description: "When, by the clock of the bucket's server, in milliseconds since 1970." }),
      objects: count.meta({ description: "What the bucket held before." }),
      bytes,
      condemned: count.meta({ description: "Objects that go the next time, if nobody uses them until then." }),
      removed: count,
      removedBytes: bytes,
      isShort: z.boolean().meta({ description: "Whether it still holds more than it may, as the rest has to stay." }),
    })
    .optional()
    .meta({ description: "What the last run of `retain` of any instance found and did; absent: none is known." }),
  namespaces: z.array(z.strictObject({ ...namespaceUsage, limitBytes: bytes.optional() })),
});

/** The namespaces, in one part. */
export const namespacesSchema: z.ZodType = listOf(z.strictObject(namespaceUsage));

/** Which part of a list is asked for. */
interface PartQuery {
  readonly after?: string | undefined;
  readonly limit: number;
}

/** The query of a list of repositories. */
export const repositoriesQuery: z.ZodType<PartQuery & { readonly namespace?: string | undefined }> = z.strictObject({
  namespace: z.string().optional().meta({ description: "Only those of this registry: `docker.io`." }),
  ...part,
});

/** A part of the repositories. */
export const repositoriesSchema: z.ZodType = listOf(
  z.strictObject({
    ...names,
    tags: count,
    bytes: bytes.meta({ description: "What it shares with other repositories counts, too." }),
    usedAt,
  }),
);

/** The query of a list of tags. */
export const tagsQuery: z.ZodType<
  PartQuery & { readonly namespace?: string | undefined; readonly repository: string }
> = z.strictObject({
  namespace: z
    .string()
    .optional()
    .meta({ description: "`docker.io`; absent: `repository` says it, or means the default." }),
  repository: z.string().meta({
    description:
      "`library/alpine`; without `namespace` a name as a purge's target: `docker.io/library/alpine`, `alpine`.",
  }),
  ...part,
});

/** A part of a repository's tags. */
export const tagsSchema: z.ZodType = listOf(
  z.strictObject({
    ...names,
    tag: z.string().optional().meta({ description: "Absent from a manifest without a tag." }),
    digest: z.string(),
    bytes: bytes.meta({ description: "All that it refers to and that is cached." }),
    usedAt,
    pinned: z.boolean(),
  }),
);

const target = z.string().min(1).max(1024).meta({
  description:
    "`docker.io/` (a namespace), `docker.io/library/alpine` (a repository), `docker.io/library/alpine:3`, `docker.io/library/alpine@sha256:…`, or `sha256:…` (a digest in all repositories).",
});

/** What is to be removed. */
export const purgeRequest: z.ZodType<{ readonly target: string; readonly dryRun: boolean }> = z.strictObject({
  target,
  dryRun: z.boolean().default(false).meta({ description: "Only say what would be removed." }),
});

/** A `PurgeReport`. */
export const purgeSchema: z.ZodType = z.strictObject({
  target: z.string().meta({ description: "By its full name." }),
  dryRun: z.boolean(),
  tags: count,
  links: count.meta({ description: "Manifests and blobs of repositories." }),
  pages: count.meta({ description: "Stored listings." }),
  contents: count.meta({ description: "Content that nobody else holds." }),
  contentsInUse: count.meta({ description: "Of `contents`, what is in use: it stays until eviction removes it." }),
  freesBytes: bytes,
  bucketObjects: count.optional().meta({ description: "Objects of the bucket, where there is one." }),
  incomplete: z.boolean().meta({
    description: "Whether a dry run counted only a part, as there is so much of it, or the bucket fails.",
  }),
});

/** The replicas that are there. */
export const replicasSchema: z.ZodType = z.strictObject({
  replicas: z
    .array(
      z.strictObject({
        id: z.string().meta({ description: "A new one for each process." }),
        address: z.string().meta({ description: "Where the others reach it." }),
        isSelf: z.boolean().meta({ description: "Whether it is the one that answers." }),
        silentMs: z.number().meta({ description: "When it was last heard of, in milliseconds before now." }),
        fetching: z.array(z.string()).meta({
          description: "What it fetches for all, or has just fetched: what it holds the leases of; not more than 100.",
        }),
      }),
    )
    .meta({ description: "This one first; none where it is alone." }),
});

/** A pin, in a body or in a query. */
export const pinRequest: z.ZodType<{ readonly pattern: string }> = z.strictObject({
  pattern: z.string().min(1).max(1024).meta({ description: "`docker.io/library/*:lts`, `quay.io/team/**`" }),
});

/** A `PinReport`. */
export const pinsSchema: z.ZodType = z.strictObject({
  configured: z.array(z.string()).meta({ description: "Those of the configuration." }),
  added: z.array(z.string()),
});

const dryRun = z.boolean().optional().meta({ description: "Only count what would be done." });

/** A job to start. What is left out is as the configuration has it. */
export const jobRequest: z.ZodType<JobRequest> = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.enum(["collect", "evict", "retain"]), dryRun }),
  z.strictObject({ kind: z.literal("purge"), target }),
  z.strictObject({
    kind: z.literal("verify"),
    dryRun,
    repair: z.boolean().optional().meta({ description: "Put right what is found." }),
    bytesPerSecond: z.int().min(1).optional().meta({ description: "How fast it reads." }),
  }),
  z.strictObject({
    kind: z.literal("warm"),
    images: z
      .array(z.string().max(1024))
      .min(1)
      .max(10_000)
      .meta({ description: "`alpine:3`, `quay.io/team/app:1.2`" }),
    platforms: z.array(z.string().max(255)).max(100).optional().meta({ description: "`linux/amd64`; empty: all." }),
    parallel: z.int().min(1).max(64).optional(),
  }),
]);

const stepSchema = z.strictObject({
  name: z.string(),
  title: z.string(),
  state: z.enum(["waiting", "running", "done", "failed", "cancelled", "skipped"]),
  durationMs: z.number().min(0).optional(),
  counts: z.record(z.string(), z.number()),
  notes: z.array(z.string()).optional().meta({ description: "What it names, a thousand things at most." }),
  error: z.string().optional().meta({ description: "Why it failed." }),
  done: z.number().optional(),
  total: z.number().optional(),
  unit: z.enum(["objects", "bytes"]).optional(),
});

const jobHead = {
  id: z.string(),
  kind: z.enum(["collect", "evict", "purge", "retain", "verify", "warm"]),
  dryRun: z.boolean(),
  state: z.enum(["running", "succeeded", "failed", "cancelled"]),
  startedAt: time,
  endedAt: time.optional(),
  error: z.string().optional().meta({ description: "Why it failed." }),
};

/** A `JobState`. */
export const jobSchema: z.ZodType = z.strictObject({ ...jobHead, steps: z.array(stepSchema) });

/** The jobs, without their steps: there may be many. */
export const jobsSchema: z.ZodType = z.strictObject({ items: z.array(z.strictObject(jobHead)) });

/** What went wrong (distribution-spec, "Error Codes"). */
export const errorSchema: z.ZodType = z.strictObject({
  errors: z.array(z.strictObject({ code: z.string(), message: z.string(), detail: z.unknown().optional() })),
});
