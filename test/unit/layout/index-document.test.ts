import assert from "node:assert/strict";
import { test } from "node:test";
import { LayoutError, readIndexDocument, repositoryOf } from "../../../src/layout/index-document.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace } from "../../../src/oci/reference.ts";
import { mediaTypes } from "../../support/image.ts";

const digest = digestOf(Buffer.from("content"));
const plain = { mediaType: mediaTypes.manifest, digest, size: 7 };
const refName = "org.opencontainers.image.ref.name";
const imageName = "io.containerd.image.name";

function read(manifests: unknown): ReturnType<typeof readIndexDocument> {
  return readIndexDocument(Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
}

/** What an entry of these annotations is served as, by a layout at `team/app`: `undefined`, or `repository:tag`. */
function served(annotations: Record<string, unknown> | null, namespace = "layouts.example.com"): string | undefined {
  const { name } = read([{ ...plain, annotations }]).entries[0] ?? assert.fail();
  const naming = { namespace: parseNamespace(namespace), prefix: undefined };
  return name && `${repositoryOf(name, "team/app", naming)}:${name.tag}`;
}

test("an entry is called by containerd's whole name, else by the reference's name, else by nothing", () => {
  assert.equal(served({ [refName]: "1.2" }), "team/app:1.2");
  assert.equal(served({ [refName]: "other/app:1.2" }), "other/app:1.2");
  assert.equal(served({ [refName]: "app:1.2" }), "app:1.2");
  assert.equal(served({ [refName]: "quay.io/team/app:1.2" }), "quay.io/team/app:1.2");
  assert.equal(served({ [imageName]: "quay.io/team/app:1.2", [refName]: "latest" }), "quay.io/team/app:1.2");
  assert.equal(served({ [imageName]: "docker.io/library/nginx:1", [refName]: "1" }), "docker.io/library/nginx:1");
  // A name that is not whole says nothing that the other does not.
  assert.equal(served({ [imageName]: "nginx", [refName]: "1" }), "team/app:1");
  assert.equal(served({ [imageName]: "docker.io/library/nginx@" + digest, [refName]: "1" }), "team/app:1");
  for (const none of [null, {}, { [refName]: "" }, { [refName]: "not a tag" }, { [refName]: `a/b@${digest}` }]) {
    assert.equal(served(none), undefined, JSON.stringify(none));
  }
  assert.equal(served({ [refName]: "i-was-a-digest" }), undefined, "crane's word for no tag");
  assert.equal(served({ [refName]: "quay.io/a/b:i-was-a-digest" }), undefined);
});

test("the namespace's own registry is not repeated, nor are Docker Hub's other names", () => {
  assert.equal(served({ [refName]: "quay.io/team/app:1" }, "quay.io"), "team/app:1");
  assert.equal(served({ [refName]: "index.docker.io/library/nginx:1" }, "docker.io"), "library/nginx:1");
  assert.equal(served({ [imageName]: "docker.io/nginx:1" }, "docker.io"), "library/nginx:1");
  assert.equal(served({ [refName]: "registry-1.docker.io/nginx:1" }), "docker.io/library/nginx:1");
});

test("a name that no repository can have is told, and so is one that is missing", () => {
  const naming = { namespace: parseNamespace("example.com"), prefix: undefined };
  assert.throws(() => repositoryOf(undefined, "Team/App", naming), /"Team\/App" is no repository's name/);
  assert.throws(() => repositoryOf(undefined, "", naming), /no name says which repository/);
  assert.throws(() => served({ [refName]: "localhost:5000/app:1" }), /"localhost:5000\/app" is no repository's name/);
  const prefixed = { ...naming, prefix: "mirror" };
  assert.equal(repositoryOf(undefined, "", prefixed), "mirror");
  assert.equal(repositoryOf(undefined, "a/b", prefixed), "mirror/a/b");
});

test("apple/containerization#369: entries without a name are there, and doubles are normal (image-spec#796)", () => {
  const { entries, problems } = read([plain, plain, { ...plain, annotations: { [refName]: "1" } }]);
  assert.deepEqual([entries.length, problems], [3, []]);
});

test("moby/moby#47210: no entries at all are written as null, too", () => {
  assert.deepEqual(read(null), { entries: [], problems: [] });
  assert.deepEqual(read([]), { entries: [], problems: [] });
});

test("an entry that cannot be used does not hide the others", () => {
  const broken = [null, 1, [], {}, { ...plain, size: -1 }, { ...plain, digest: "sha256:short" }];
  const foreign = { ...plain, digest: "blake3:abc" };
  const { entries, problems } = read([plain, ...broken, foreign, { ...plain, annotations: { [refName]: "1" } }]);
  assert.equal(entries.length, 2);
  assert.equal(problems.length, broken.length + 1);
  assert.match(problems[0] ?? "", /manifests\[1\] is not a descriptor/);
  assert.match(problems.at(-1) ?? "", /algorithm that is not supported/);
});

test("all fields of an entry are kept", () => {
  const full = { ...plain, platform: { os: "linux", architecture: "" }, artifactType: "a/b", more: [1] };
  assert.deepEqual(read([full]).entries[0]?.descriptor, full);
});

test("what is no index is refused", () => {
  for (const text of ["", "[]", "nonsense", '{"manifests":{}}', `{"a":${"[".repeat(100)}${"]".repeat(100)}}`]) {
    assert.throws(() => readIndexDocument(Buffer.from(text)), LayoutError, text);
  }
});
