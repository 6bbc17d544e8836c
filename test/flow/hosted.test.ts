import assert from "node:assert/strict";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { NamePattern } from "../../src/oci/name-pattern.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseNamespace } from "../../src/oci/reference.ts";
import {
  bytesOf,
  codeOf,
  descriptorOf,
  digestOfDocument,
  imageOf,
  indexOf,
  Pusher,
  startHosted,
} from "../support/hosted.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { hostedBlobKey } from "../../src/store/hosted-layout.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

type Start = typeof startHosted;

/** Where what is hosted lies: each gives a way to start mirrors on one place. */
const places: Readonly<Record<string, () => Start>> = {
  "in a folder": () => startHosted,
  "in a bucket": () => {
    const bucketStore = new MemoryBucket();
    return (options, upstream) => startHosted({ bucketStore, ...options }, upstream);
  },
};

const missing = digestOf(Buffer.from("never pushed"));

for (const [where, place] of Object.entries(places)) {
  describe(where, () => {
    test("an image that is pushed can be pulled, byte for byte, also after a restart", async () => {
      const start = place();
      await using folder = await createTemporaryDirectory();
      const document = imageOf(Buffer.from("{}"), [Buffer.from("layer")]);
      {
        await using mirror = await start({ root: folder.path });
        const pusher = new Pusher(mirror);
        await pusher.blob("{}");
        await pusher.blob("layer");
        const pushed = await pusher.manifest("1", document);
        assert.equal(pushed.status, 201);
        assert.equal(pushed.headers.location, `${pusher.path}/manifests/1`);
        assert.equal(pushed.headers["docker-content-digest"], digestOfDocument(document));
        assert.equal(pushed.headers["oci-subject"], undefined);
      }
      await using mirror = await start({ root: folder.path });
      const pusher = new Pusher(mirror);
      for (const reference of ["1", digestOfDocument(document)]) {
        const pulled = await pusher.ask(`/manifests/${reference}`);
        assert.equal(pulled.status, 200);
        assert.equal(pulled.headers["content-type"], "application/vnd.oci.image.manifest.v1+json");
        assert.equal(pulled.headers["cache-status"], "entrepot; hit");
        assert.deepEqual(pulled.body, bytesOf(document));
      }
      const layer = await pusher.ask(`/blobs/${digestOf(Buffer.from("layer"))}`, { headers: { range: "bytes=1-3" } });
      assert.deepEqual(
        [layer.status, layer.headers["content-range"], layer.body.toString()],
        [206, "bytes 1-3/5", "aye"],
      );
      assert.deepEqual(await pusher.tags(), ["1"]);
    });

    test("an upload goes on where it has ended, in chunks, by a stream, and after a restart", async () => {
      const start = place();
      await using folder = await createTemporaryDirectory();
      const bytes = Buffer.from("0123456789abcdef");
      let location: string;
      {
        await using mirror = await start({ root: folder.path });
        const pusher = new Pusher(mirror);
        location = await pusher.open();
        assert.ok(location.startsWith(`${pusher.path}/blobs/uploads/`), location);
        const first = await pusher.patch(location, bytes.subarray(0, 4), 0);
        assert.deepEqual([first.status, first.headers.range], [202, "0-3"]);
        location = String(first.headers.location);
        for (const start of [0, 3, 5]) {
          const wrong = await pusher.patch(location, bytes.subarray(4, 8), start);
          assert.deepEqual(
            [wrong.status, wrong.headers.range, codeOf(wrong)],
            [416, "0-3", "RANGE_INVALID"],
            `${start}`,
          );
        }
        assert.equal((await pusher.patch(location, bytes.subarray(4, 8))).headers.range, "0-7");
      }
      await using mirror = await start({ root: folder.path });
      const pusher = new Pusher(mirror);
      const state = await pusher.ask(location);
      assert.deepEqual([state.status, state.headers.range], [204, "0-7"]);
      // The last chunk's place is looked at before anything is stored of it.
      const late = await pusher.put(location, digestOf(bytes), bytes.subarray(8), { "content-range": "9-16" });
      assert.deepEqual([late.status, late.headers.range], [416, "0-7"]);
      const done = await pusher.put(location, digestOf(bytes), bytes.subarray(8), { "content-range": "8-15" });
      assert.equal(done.status, 201);
      assert.deepEqual((await pusher.ask(String(done.headers.location))).body, bytes);
      // A client that has missed the answer asks again.
      assert.equal((await pusher.put(location, digestOf(bytes))).status, 201);
      assert.equal((await pusher.put(location, missing)).status, 404);
      assert.equal((await pusher.ask(location)).status, 404);
    });

    test("a PUT that is repeated after a restart is 201 again", async () => {
      const start = place();
      await using folder = await createTemporaryDirectory();
      let location: string;
      {
        await using mirror = await start({ root: folder.path });
        location = await new Pusher(mirror).open();
        assert.equal(
          (await new Pusher(mirror).put(location, digestOf(Buffer.from("a")), Buffer.from("a"))).status,
          201,
        );
      }
      await using mirror = await start({ root: folder.path });
      assert.equal((await new Pusher(mirror).put(location, digestOf(Buffer.from("a")))).status, 201);
      assert.equal((await new Pusher(mirror).put(location, missing)).status, 400);
    });

    test("what does not have its digest is not stored, and its upload has ended", async () => {
      const start = place();
      await using mirror = await start();
      const pusher = new Pusher(mirror);
      const location = await pusher.open();
      const refused = await pusher.put(location, missing, Buffer.from("something else"));
      assert.deepEqual([refused.status, codeOf(refused)], [400, "DIGEST_INVALID"]);
      assert.equal((await pusher.ask(`/blobs/${missing}`)).status, 404);
      assert.equal((await pusher.ask(`/blobs/${digestOf(Buffer.from("something else"))}`)).status, 404);
      assert.equal((await pusher.ask(location)).status, 404);
      for (const digest of ["", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e"]) {
        assert.equal(codeOf(await pusher.put(await pusher.open(), digest, Buffer.from("a"))), "DIGEST_INVALID");
      }
    });

    test("one POST is enough; an announced algorithm, an empty blob and SHA-512 are taken", async () => {
      const start = place();
      await using mirror = await start();
      const pusher = new Pusher(mirror);
      const whole = Buffer.from("in one request");
      for (const [bytes, digest] of [
        [whole, digestOf(whole)],
        [whole, digestOf(whole, "sha512")],
        [Buffer.alloc(0), digestOf(Buffer.alloc(0))],
      ] as const) {
        const posted = await pusher.ask(`/blobs/uploads/?digest=${digest}`, { method: "POST", body: bytes });
        assert.equal(posted.status, 201);
        assert.equal(posted.headers["docker-content-digest"], digest);
        assert.deepEqual((await pusher.ask(`/blobs/${digest}`)).body, bytes);
      }
      // Without its bytes it is opened, and the client sends them.
      assert.equal((await pusher.ask(`/blobs/uploads?digest=${missing}`, { method: "POST" })).status, 202);
      const announced = await pusher.open("?digest-algorithm=sha512");
      const bytes = Buffer.from("announced");
      assert.equal((await pusher.put(announced, digestOf(bytes, "sha512"), bytes)).status, 201);
      const unknown = await pusher.ask("/blobs/uploads/?digest-algorithm=md5", { method: "POST" });
      assert.equal(codeOf(unknown), "DIGEST_INVALID");
    });

    test("an upload that is cancelled, made up, or of another repository is unknown", async () => {
      const start = place();
      await using mirror = await start();
      const pusher = new Pusher(mirror);
      const location = await pusher.open();
      assert.equal((await pusher.ask(location, { method: "DELETE" })).status, 204);
      const begun = await pusher.open();
      await pusher.patch(begun, Buffer.from("begun"));
      assert.equal((await pusher.ask(begun, { method: "DELETE" })).status, 204);
      const other = (await pusher.open()).replace("team/web", "team/other");
      const forged = (await pusher.open()).replace(/.$/, (last) => (last === "0" ? "1" : "0"));
      for (const unknown of [location, begun, other, forged, `${pusher.path}/blobs/uploads/..%2f..%2fx`]) {
        for (const method of ["GET", "PATCH", "DELETE"]) {
          const answer = await pusher.ask(unknown, { method });
          assert.equal(answer.status, 404, `${method} ${unknown}`);
          if (method !== "GET") assert.equal(codeOf(answer), "BLOB_UPLOAD_UNKNOWN");
        }
        assert.equal((await pusher.put(unknown, digestOf(Buffer.from("a")), Buffer.from("a"))).status, 404);
      }
    });

    test("a client that has given its connection up goes on by another one, from where it was", async () => {
      const start = place();
      await using mirror = await start();
      const pusher = new Pusher(mirror);
      const location = await pusher.open();
      const bytes = Buffer.alloc(200_000, "0123456789");
      const socket = connect(Number(new URL(mirror.url).port), "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write(`PATCH ${location} HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes.length}\r\n\r\n`);
      await new Promise((resolve) => socket.write(bytes.subarray(0, 100_000), resolve));
      // Where the one that ended has stored something, the other one is told how much, and nothing is stored of it.
      let taken = await pusher.patch(location, bytes, 0);
      const next = Number(String(taken.headers.range).split("-")[1]) + 1;
      if (taken.status === 416) taken = await pusher.patch(location, bytes.subarray(next), next);
      assert.deepEqual([taken.status, taken.headers.range], [202, `0-${bytes.length - 1}`]);
      assert.equal((await pusher.put(location, digestOf(bytes))).status, 201);
      socket.destroy();
    });

    test("a blob is mounted from where it is, and else uploaded; nobody hears why", async () => {
      const start = place();
      await using mirror = await start();
      const source = new Pusher(mirror, "team/base");
      const target = new Pusher(mirror, "team/web");
      const digest = await source.blob("shared");
      const mount = (from: string): Promise<{ status: number }> =>
        target.ask(`/blobs/uploads/?mount=${digest}&from=${encodeURIComponent(from)}`, { method: "POST" });
      for (const from of ["apps/team/none", "docker.io/library/alpine", "Not A Name", "elsewhere.example.com/a", ""]) {
        assert.equal((await mount(from)).status, 202, from);
      }
      assert.equal((await target.ask(`/blobs/${digest}`)).status, 404);
      assert.equal((await mount("apps/team/base")).status, 201);
      assert.equal((await target.ask(`/blobs/${digest}`)).body.toString(), "shared");
      const third = new Pusher(mirror, "third");
      assert.equal((await third.ask(`/blobs/uploads/?mount=${digest}`, { method: "POST" })).status, 201);
      assert.equal((await third.ask(`/blobs/uploads/?mount=${missing}`, { method: "POST" })).status, 202);
      // Whose it was has lost it: the others have not.
      assert.equal((await source.ask(`/blobs/${digest}`, { method: "DELETE" })).status, 202);
      assert.equal((await source.ask(`/blobs/${digest}`)).status, 404);
      assert.equal((await target.ask(`/blobs/${digest}`)).status, 200);
    });

    test("a manifest is taken when all that it needs is there, and is what it says to be", async () => {
      const start = place();
      await using mirror = await start();
      const pusher = new Pusher(mirror);
      const config = Buffer.from("{}");
      const layer = Buffer.from("layer");
      await pusher.blob(config);
      const image = imageOf(config, [layer]);
      const incomplete = await pusher.manifest("1", image);
      assert.deepEqual([incomplete.status, codeOf(incomplete)], [404, "MANIFEST_BLOB_UNKNOWN"]);
      assert.match(incomplete.body.toString(), new RegExp(digestOf(layer)));
      await new Pusher(mirror, "another").blob(layer);
      assert.equal((await pusher.manifest("1", image)).status, 404);
      await pusher.blob(layer);
      assert.equal((await pusher.manifest("1", image)).status, 201);
      const refusals: [string, object, Record<string, string>, string][] = [
        [missing, image, {}, "DIGEST_INVALID"],
        ["1", image, { "content-type": "application/vnd.oci.image.index.v1+json" }, "MANIFEST_INVALID"],
        [
          "1",
          { ...image, mediaType: undefined },
          { "content-type": "application/vnd.example+json" },
          "MANIFEST_INVALID",
        ],
        ["1", { schemaVersion: 2, mediaType: "application/json" }, {}, "MANIFEST_INVALID"],
        ["1", { ...image, layers: [{ ...descriptorOf(layer), size: 6 }] }, {}, "MANIFEST_INVALID"],
        ["1", indexOf([{ not: "here" }]), {}, "MANIFEST_BLOB_UNKNOWN"],
      ];
      for (const [reference, document, headers, code] of refusals) {
        assert.equal(codeOf(await pusher.manifest(reference, document, headers)), code, JSON.stringify(document));
      }
      // Of an index's children are manifests meant, and not blobs of the same bytes.
      const child = imageOf(config, []);
      await pusher.blob(bytesOf(child));
      assert.equal(codeOf(await pusher.manifest("all", indexOf([child]))), "MANIFEST_BLOB_UNKNOWN");
      await pusher.manifest(digestOfDocument(child), child);
      assert.equal((await pusher.manifest("all", indexOf([child, image]))).status, 201);
      const large = { ...image, annotations: { large: "x".repeat(4 * 1024 * 1024) } };
      assert.equal(codeOf(await pusher.manifest("1", large)), "CONTENT_TOO_LARGE");
    });

    test("tags are set together, listed in their order and in pages, and deleted", async () => {
      const start = place();
      await using mirror = await start();
      const pusher = new Pusher(mirror);
      assert.equal((await pusher.ask("/tags/list")).status, 404);
      const digest = await pusher.image("b");
      const document = imageOf(Buffer.from('{"of":"b"}'), [Buffer.from("a layer of b")]);
      const both = await pusher.manifest(`${digest}?tag=a&tag=C`, document);
      assert.deepEqual([both.status, both.headers["oci-tag"]], [201, "a, C"]);
      const many = await pusher.manifest(
        `${digest}?${Array.from({ length: 51 }, (_, n) => `tag=t${n}`).join("&")}`,
        document,
      );
      assert.equal(many.status, 414);
      assert.deepEqual(await pusher.tags(), ["C", "a", "b"]);
      const page = await pusher.ask("/tags/list?n=2");
      assert.equal(page.headers.link, `<${pusher.path}/tags/list?n=2&last=a>; rel="next"`);
      assert.deepEqual(await pusher.tags("?n=2&last=a"), ["b"]);
      assert.deepEqual(await pusher.tags("?last=B"), ["C", "a", "b"]);
      const none = await pusher.ask("/tags/list?n=0");
      assert.deepEqual([JSON.parse(none.body.toString()).tags, none.headers.link], [[], undefined]);
      assert.equal((await pusher.ask("/manifests/a", { method: "DELETE" })).status, 202);
      assert.equal((await pusher.ask("/manifests/a", { method: "DELETE" })).status, 404);
      assert.deepEqual(await pusher.tags(), ["C", "b"]);
      assert.equal((await pusher.ask(`/manifests/${digest}`, { method: "DELETE" })).status, 202);
      assert.deepEqual(await pusher.tags(), []);
      assert.equal((await pusher.ask(`/manifests/${digest}`)).status, 404);
      assert.equal(codeOf(await pusher.ask(`/manifests/${digest}`, { method: "DELETE" })), "MANIFEST_UNKNOWN");
    });

    test("referrers are listed, filtered, in pages, also of what is not there yet, and go when they are deleted", async () => {
      const start = place();
      await using mirror = await start();
      const pusher = new Pusher(mirror);
      assert.deepEqual(await pusher.referrers(missing), []);
      const subject = { ...descriptorOf(Buffer.from("never pushed")) };
      const documents = await Promise.all(
        ["sbom", "signature", "signature"].map(async (artifactType, index) => {
          const more = { artifactType: `application/${artifactType}`, subject, annotations: { index: `${index}` } };
          const document = await pusher.imageDocument("referrer", more);
          const pushed = await pusher.manifest(digestOfDocument(document), document);
          assert.deepEqual([pushed.status, pushed.headers["oci-subject"]], [201, missing]);
          return digestOfDocument(document);
        }),
      );
      assert.deepEqual((await pusher.referrers(missing)).map(({ digest }) => digest).toSorted(), documents.toSorted());
      const filtered = await pusher.ask(`/referrers/${missing}?artifactType=application/signature&n=1`);
      assert.equal(filtered.headers["content-type"], "application/vnd.oci.image.index.v1+json");
      assert.equal(filtered.headers["oci-filters-applied"], "artifactType");
      const link = /^<(.*)>/.exec(String(filtered.headers.link))?.[1] ?? "";
      const pages = [filtered, await pusher.ask(link)].flatMap(
        ({ body }) =>
          (JSON.parse(body.toString()) as { manifests: { digest: string; annotations: object }[] }).manifests,
      );
      assert.deepEqual(pages.map(({ digest }) => digest).toSorted(), documents.slice(1).toSorted());
      assert.deepEqual(new Set(pages.map(({ annotations }) => JSON.stringify(annotations))).size, 2);
      assert.equal((await pusher.ask(`/manifests/${documents[0]}`, { method: "DELETE" })).status, 202);
      assert.equal((await pusher.referrers(missing)).length, 2);
      assert.equal((await pusher.ask("/referrers/sha256:00")).status, 400);
    });

    test("two that change one tag at once lose nothing: conditions are kept", async () => {
      const start = place();
      await using mirror = await start();
      const pusher = new Pusher(mirror);
      const first = await pusher.image("list", "first");
      const documents = await Promise.all(["second", "third"].map((content) => pusher.imageDocument(content)));
      const answers = await Promise.all(
        documents.map((document) => pusher.manifest("list", document, { "if-match": `"${first}"` })),
      );
      assert.deepEqual(
        answers.map(({ status }) => status).toSorted((a, b) => a - b),
        [201, 412],
      );
      const created = await Promise.all(
        documents.map((document) => pusher.manifest("new", document, { "if-none-match": "*" })),
      );
      assert.deepEqual(
        created.map(({ status }) => status).toSorted((a, b) => a - b),
        [201, 412],
      );
      const deleted = await pusher.ask("/manifests/list", { method: "DELETE", headers: { "if-match": `"${first}"` } });
      assert.equal(deleted.status, 412);
    });

    test("a namespace's rules are kept, and say what they are", async () => {
      const start = place();
      await using mirror = await start({
        hosted: {
          immutableTags: [new NamePattern("v*")],
          repositories: [new NamePattern("team/**")],
          sparseManifests: true,
          deletes: { tags: true, manifests: false, blobs: false },
          maxBlobBytes: 100,
          maxChunkBytes: 60,
          maxManifestBytes: 1_000,
        },
      });
      const pusher = new Pusher(mirror);
      const digest = await pusher.image("v1");
      assert.equal(await pusher.image("v1"), digest);
      const moved = await pusher.manifest("v1", await pusher.imageDocument("other"));
      assert.deepEqual([moved.status, codeOf(moved)], [409, "CONFLICT"]);
      assert.equal(await pusher.digest("v1"), digest);
      assert.equal((await pusher.ask("/manifests/v1", { method: "DELETE" })).status, 409);
      await pusher.image("latest", "other");
      assert.equal((await pusher.ask("/manifests/latest", { method: "DELETE" })).status, 202);
      for (const path of [`/manifests/${digest}`, `/blobs/${digestOf(Buffer.from("a layer of v1"))}`]) {
        const refused = await pusher.ask(path, { method: "DELETE" });
        assert.deepEqual([refused.status, codeOf(refused)], [405, "UNSUPPORTED"], path);
      }
      assert.equal((await pusher.manifest("sparse", indexOf([{ not: "here" }]))).status, 201);
      assert.equal((await pusher.manifest("sparse", imageOf(Buffer.from("{}"), [Buffer.from("later")]))).status, 201);
      const elsewhere = await new Pusher(mirror, "other").ask("/blobs/uploads/", { method: "POST" });
      assert.deepEqual([elsewhere.status, codeOf(elsewhere)], [403, "DENIED"]);
      const location = await pusher.open();
      assert.equal(codeOf(await pusher.patch(location, Buffer.alloc(61))), "CONTENT_TOO_LARGE");
      assert.equal((await pusher.patch(location, Buffer.alloc(60))).status, 202);
      assert.equal(codeOf(await pusher.patch(location, Buffer.alloc(41))), "CONTENT_TOO_LARGE");
      const tall = { ...(await pusher.imageDocument("tall")), annotations: { tall: "x".repeat(1_000) } };
      assert.equal(codeOf(await pusher.manifest("tall", tall)), "CONTENT_TOO_LARGE");
    });

    test("a namespace holds no more than its quota", async () => {
      const start = place();
      await using mirror = await start({ hosted: { quotaBytes: 1_000 } });
      const pusher = new Pusher(mirror);
      const digest = await pusher.blob("x".repeat(600));
      const refused = await pusher.put(await pusher.open(), digestOf(Buffer.alloc(600)), Buffer.alloc(600));
      assert.deepEqual([refused.status, codeOf(refused)], [403, "DENIED"]);
      const second = new Pusher(mirror, "second");
      const mounted = await second.ask(`/blobs/uploads/?mount=${digest}&from=apps/team/web`, { method: "POST" });
      assert.equal(codeOf(mounted), "DENIED");
      assert.equal((await pusher.ask(`/blobs/${digest}`, { method: "DELETE" })).status, 202);
      await pusher.blob(Buffer.alloc(600));
    });

    test("repositories are listed by the names by which they are pulled", async () => {
      const start = place();
      await using mirror = await start();
      assert.deepEqual(JSON.parse((await mirror.get("/v2/_catalog")).body.toString()), { repositories: [] });
      for (const name of ["b", "a/b", "a-b"]) await new Pusher(mirror, name).image("1");
      const listed = async (path: string): Promise<string[]> =>
        JSON.parse((await mirror.get(path)).body.toString()).repositories;
      const all = await listed("/v2/_catalog");
      assert.deepEqual(all.toSorted(), ["apps/a-b", "apps/a/b", "apps/b"]);
      assert.deepEqual((await listed("/v2/_catalog?ns=apps")).toSorted(), ["a-b", "a/b", "b"]);
      const first = await mirror.get("/v2/_catalog?n=2");
      const link = /^<(.*)>/.exec(String(first.headers.link))?.[1] ?? "";
      assert.deepEqual([...JSON.parse(first.body.toString()).repositories, ...(await listed(link))], all);
      await using none = await start({ config: { hosted: [] } });
      assert.equal((await none.get("/v2/_catalog")).status, 404);
    });

    test("a mirror and what is hosted share bytes, and never whose they are", async () => {
      const start = place();
      await using upstream = await createUpstream();
      const image = upstream.addImage("library/test", "1", { layers: 1, layerBytes: 100_000 });
      const [blob = ""] = image.blobs;
      await using mirror = await start({}, upstream.host);
      const pusher = new Pusher(mirror);
      const mount = async (): Promise<number> =>
        (await pusher.ask(`/blobs/uploads/?mount=${blob}&from=docker.io/library/test`, { method: "POST" })).status;
      const asked = upstream.requests.length;
      assert.equal(await mount(), 202);
      assert.equal(upstream.requests.length, asked);
      const { body } = await mirror.get(`/v2/library/test/blobs/${blob}`);
      await mirror.app.idle();
      assert.equal(await mount(), 201);
      assert.deepEqual((await pusher.ask(`/blobs/${blob}`)).body, body);
      // What was pushed is not fetched; but whether the other repository has it, its registry says.
      const pushed = upstream.addImage("library/second", "1", { layers: 1, layerBytes: 100_000 });
      const [own = ""] = pushed.blobs;
      const source = new Pusher(mirror, "second");
      const { body: bytes } = await mirror.get(`/v2/library/second/blobs/${own}`);
      await using other = await start({}, upstream.host);
      await new Pusher(other).blob(bytes);
      const path = `/v2/library/second/blobs/${own}`;
      assert.equal((await other.get(`/v2/library/none/blobs/${own}`)).status, 404);
      const before = upstream.bytesSent({});
      const pulled = await other.get(path);
      assert.deepEqual([pulled.status, pulled.body], [200, bytes]);
      assert.ok(upstream.bytesSent({}) - before < 1_000, `${upstream.bytesSent({}) - before}`);
      assert.equal((await source.ask(`/blobs/${own}`)).status, 404);
    });

    test("what a mirror answers to a push says where to push", async () => {
      const start = place();
      await using mirror = await start();
      const refused = await mirror.get("/v2/library/alpine/blobs/uploads/", { method: "POST" });
      assert.deepEqual([refused.status, codeOf(refused)], [405, "UNSUPPORTED"]);
      assert.match(refused.body.toString(), /apps\/library\/alpine/);
      await using none = await start({ config: { hosted: [] } });
      const without = await none.get("/v2/library/alpine/blobs/uploads/", { method: "POST" });
      assert.match(without.body.toString(), /hosted: \[\{namespace: apps\}\]/);
    });

    test("a hosted namespace stands before a mirror: what was pushed comes first", async () => {
      const start = place();
      await using upstream = await createUpstream();
      const theirs = upstream.addImage("library/test", "1", { layers: 1 });
      upstream.addImage("library/test", "2", { layers: 1 });
      const namespace = parseNamespace("docker.io");
      await using mirror = await start({ hosted: { namespace, fallback: namespace } }, upstream.host);
      const at = (path: string): string => `/v2/library/test${path}`;
      const digest = async (reference: string): Promise<unknown> =>
        (await mirror.get(at(`/manifests/${reference}`))).headers["docker-content-digest"];
      assert.equal(await digest("1"), theirs.digest);
      const [blob = ""] = theirs.blobs;
      assert.equal((await mirror.get(at(`/blobs/${blob}`))).status, 200);
      // Who is about to push is not told that its blob is here.
      assert.equal((await mirror.get(at(`/blobs/${blob}`), { method: "HEAD" })).status, 404);
      const pusher = new Pusher({
        get: (path, options) => mirror.get(path.replace("/v2/apps/team/web", at("")), options),
      });
      const ours = await pusher.image("1", "ours");
      assert.equal(await digest("1"), ours);
      assert.notEqual(await digest("2"), ours);
    });
  });
}

test("content that was cut on the disk is gone, and there again when it is pushed again", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const digest = await pusher.blob("a blob of some bytes");
  await truncate(`${mirror.root}/${hostedBlobKey(digest)}`, 7);
  for (const method of ["GET", "HEAD"]) {
    assert.equal((await pusher.ask(`/blobs/${digest}`, { method })).status, 404, method);
  }
  await pusher.blob("a blob of some bytes");
  assert.equal((await pusher.ask(`/blobs/${digest}`)).body.toString(), "a blob of some bytes");
  assert.ok(mirror.log().some(({ digest: told }) => told === digest));
});

test("a manifest that is damaged on the disk is gone, and there again when it is pushed again", async () => {
  await using folder = await createTemporaryDirectory();
  {
    await using mirror = await startHosted({ root: folder.path });
    await new Pusher(mirror).image("1");
  }
  const document = imageOf(Buffer.from('{"of":"1"}'), [Buffer.from("a layer of 1")]);
  const digest = digestOfDocument(document);
  const path = `${folder.path}/${hostedBlobKey(digest)}`;
  const bytes = await readFile(path);
  bytes[10] = (bytes[10] ?? 0) ^ 1;
  await writeFile(path, bytes);
  await using mirror = await startHosted({ root: folder.path });
  const pusher = new Pusher(mirror);
  assert.equal((await pusher.ask("/manifests/1")).status, 404);
  assert.equal(await pusher.image("1"), digest);
  assert.deepEqual((await pusher.ask("/manifests/1")).body, bytesOf(document));
});
