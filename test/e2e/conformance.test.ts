/* The OCI's own conformance suite, unaltered and in both of its forms, against hosted namespaces and a mirror of one. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { buildImage, buildReferrer } from "../support/image.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { type ConformanceRun, runConformance } from "./conformance.ts";
import { type HostedRegistry, startHosted } from "./hosted.ts";
import { startMirror } from "./mirror.ts";
import { pushImage } from "./upstream-registry.ts";

const hosted = [{ namespace: "apps" }, { namespace: "sparse", sparse_manifests: true }];

/** What the earlier form skips of a registry that supports everything, and why. */
const skippedByTheEarlierForm: Readonly<Record<string, string>> = {
  "Pull Setup Get tag name from environment": "for registries that cannot be pushed to",
  "Content Discovery Setup Populate registry with test tags (no push)": "for registries that cannot be pushed to",
  "Push Cross-Repository Blob Mount Cross-mounting of nonexistent blob should yield session id":
    "looks at the answer to a mount that was refused; ours succeeded",
  "Push Cross-Repository Blob Mount Cross-mounting without from, and automatic content discovery disabled should return a 202":
    "for registries that do not look for the blob in other repositories",
};

for (const storage of ["folder", "bucket"] as const) {
  describe(`the conformance suite, on a ${storage}`, () => {
    let directory: TemporaryDirectory;
    let registry: HostedRegistry;

    before(async () => {
      directory = await createTemporaryDirectory();
      registry = await startHosted(directory.path, { hosted, isInBucket: storage === "bucket" });
    });

    after(async () => {
      await registry?.[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    });

    it("passes in its current form, with what comes after version 1.1, and skips nothing", async () => {
      const run = { form: "current", name: `${storage}-current`, variables: currentForm(registry, "apps") } as const;
      assert.deepEqual(await mustPass(run), []);
    });

    it("passes in its current form where manifests may be sparse, and skips nothing", async () => {
      const variables = { ...currentForm(registry, "sparse"), OCI_DATA_SPARSE: "true" };
      assert.deepEqual(await mustPass({ form: "current", name: `${storage}-current-sparse`, variables }), []);
    });

    for (const order of ["manifests", "blobs"]) {
      it(`passes in its earlier form, all four workflows, with ${order} deleted first`, async () => {
        const variables = {
          OCI_ROOT_URL: `http://${registry.host}`,
          OCI_NAMESPACE: `apps/earlier-${order}`,
          OCI_CROSSMOUNT_NAMESPACE: `apps/earlier-${order}-mounted`,
          OCI_TEST_PULL: "1",
          OCI_TEST_PUSH: "1",
          OCI_TEST_CONTENT_DISCOVERY: "1",
          OCI_TEST_CONTENT_MANAGEMENT: "1",
          OCI_AUTOMATIC_CROSSMOUNT: "1",
          OCI_DELETE_MANIFEST_BEFORE_BLOBS: order === "manifests" ? "1" : "0",
        };
        const run = { form: "earlier", name: `${storage}-earlier-${order}-first`, variables } as const;
        assert.deepEqual((await mustPass(run)).toSorted(), Object.keys(skippedByTheEarlierForm).toSorted());
      });
    }
  });
}

it("the conformance suite passes in its read-only mode, against a mirror of a hosted namespace", async () => {
  await using directory = await createTemporaryDirectory();
  await using registry = await startHosted(directory.path, { hosted, isInBucket: false });
  const repository = "apps/read-only";
  const image = buildImage({ platforms: 2 });
  const referrer = buildReferrer(image.root, "application/vnd.example.signature");
  for (const tag of ["1", "2"]) await pushImage(`${registry.host}/${repository}`, tag, image);
  await pushImage(`${registry.host}/${repository}`, referrer.root.digest, referrer);
  await using mirror = await startMirror(directory.path, { "registry.example.com": registry.host });

  const manifests = [image.root, ...image.platforms.map(({ manifest }) => manifest), referrer.root];
  const variables = {
    ...currentForm(mirror, "registry.example.com/apps"),
    OCI_REPO1: `registry.example.com/${repository}`,
    ...Object.fromEntries(notOfAMirror.map((name) => [`OCI_API_${name}`, "false"])),
    // The suite looks for the header in an answer that it keeps only where it knows the manifest's bytes.
    OCI_API_MANIFESTS_DIGEST_HEADER: "false",
    OCI_RO_DATA_TAGS: "1 2",
    OCI_RO_DATA_MANIFESTS: manifests.map(({ digest }) => digest).join(" "),
    OCI_RO_DATA_BLOBS: [...image.blobs.keys(), ...referrer.blobs.keys()].join(" "),
    OCI_RO_DATA_REFERRERS: image.root.digest,
  };
  // Where pushes are off, the suite panics as it writes its report.
  const run = { form: "current", name: "mirror-read-only", variables, endsWithoutReport: true } as const;
  const skipped = await mustPass(run);
  assert.deepEqual(
    skipped.filter((name) => !/^sha(256|512) blobs$|\/(push|delete|manifest-put)\b/.test(name)),
    [],
  );
});

/** What a mirror does not do, in the suite's words. */
const notOfAMirror = [
  "PUSH",
  "BLOBS_DELETE",
  "BLOBS_MOUNT_ANONYMOUS",
  "BLOBS_UPLOAD_CANCEL",
  "MANIFESTS_DELETE",
  "MANIFESTS_TAG_PARAM",
  "TAGS_DELETE",
];

/** The settings of the current form. What is off by default is on: what `dev` adds. */
function currentForm({ host }: { readonly host: string }, namespace: string): Record<string, string> {
  return {
    OCI_VERSION: "dev",
    OCI_TLS: "disabled",
    OCI_REGISTRY: host,
    OCI_REPO1: `${namespace}/current`,
    OCI_REPO2: `${namespace}/current-mounted`,
  };
}

/** Runs the suite, says how many tests it had, asserts that none failed, and gives those that it skipped. */
async function mustPass(run: ConformanceRun): Promise<readonly string[]> {
  const found = await runConformance(run);
  const counts = Object.entries(found).map(([how, names]: [string, readonly string[]]) => `${names.length} ${how}`);
  process.stdout.write(`conformance ${run.name}: ${counts.join(", ")}\n`);
  assert.deepEqual(found.failed, []);
  assert.ok(found.passed.length > 0);
  return found.skipped;
}
