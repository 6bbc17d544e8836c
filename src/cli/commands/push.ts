import { basename, dirname, resolve } from "node:path";
import { isDigest } from "../../oci/digest.ts";
import { OciError } from "../../oci/errors.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../../oci/reference.ts";
import type { FoundImage, Place } from "../../layout/place.ts";
import { type Key, StoreError } from "../../store/object-store.ts";
import { bucketFlags, loadBucket, toFlag } from "../configuration.ts";
import { showContent } from "../content-progress.ts";
import { formatBytes } from "../quantities.ts";
import { explain } from "../serve.ts";
import { CommandFailure, exitCodes } from "../terminal.ts";
import { addCommand, type CommandContext, writeJson } from "./command.ts";

interface PushFlags {
  readonly to?: string;
  readonly select?: string;
  readonly concurrency: string;
  readonly json?: boolean;
}

const defaultAtOnce = 4;
const mostAtOnce = 64;

/** Adds the command that writes an image into a bucket of layouts. */
export function addPushCommand(context: CommandContext): void {
  const { finish } = context;
  const push = addCommand(context, "push <layout> <image>", "write an image into a bucket of image layouts", ["config"])
    .usage("[options] FOLDER|ARCHIVE NAME[:TAG]")
    .requiredOption("--to <bucket>", "the bucket: s3://BUCKET[/PREFIX]")
    .option("--select <which>", "the tag or the digest of the image, where the layout has several")
    .option("--concurrency <count>", "how many blobs are sent at a time", String(defaultAtOnce))
    .option("--json", "write what was done as JSON, for scripts");
  for (const option of bucketFlags) push.addOption(toFlag(option));
  push
    .addHelpText(
      "after",
      "\nFOLDER is an OCI image layout, ARCHIVE a tar of one. The image is in the layout NAME of the bucket afterwards, called\n" +
        "TAG (latest without one); what else is there stays, also where others push at the same time. What is there already is\n" +
        "not sent again: a push that was stopped goes on where it was. The bucket is reached by the flags and variables of the\n" +
        "command s3, else as storage.s3 of the configuration is. A mirror serves it by `layouts` (docs/layouts.md).",
    )
    .action(async (layout: string, image: string) => {
      finish(await pushTo(context, layout, readName(image), push.opts<PushFlags>(), push));
    });
}

async function pushTo(
  { terminal, person, stopSignal }: CommandContext,
  layout: string,
  { repository, tag }: { readonly repository: Repository; readonly tag: Tag },
  { to = "", select, concurrency, json = false }: PushFlags,
  command: Parameters<typeof loadBucket>[0],
): Promise<number> {
  if (!/^s3:\/\//i.test(to)) throw usage(`--to takes a bucket: s3://BUCKET or s3://BUCKET/PREFIX, not ${to}`);
  const atOnce = Number(concurrency);
  if (!Number.isInteger(atOnce) || atOnce < 1 || atOnce > mostAtOnce) {
    throw usage(`--concurrency takes a number from 1 to ${mostAtOnce}`);
  }
  const settings = await loadBucket(command, terminal, to);
  const { LayoutError } = await import("../../layout/index-document.ts");
  const { contentOf, writeImage } = await import("../../layout/write-image.ts");
  const { openBucketStore } = await import("../../app/bucket-store.ts");
  const signal = stopSignal();
  const sent = { pieces: 0, bytes: 0, skipped: 0 };
  try {
    const place = await openPlace(layout);
    const chosen = choose(place, layout, select);
    const content = await contentOf(place, chosen);
    const totalBytes = [...content.blobs, ...content.manifests].reduce((sum, { size }) => sum + size, 0);
    const store = await openBucketStore(settings);
    const progress = await showContent(person.screen, "done", totalBytes);
    try {
      const { unsafeLacks } = await import("../../store/s3-probe.ts");
      const { lacks } = await store.probe();
      await writeImage(place, chosen, content, {
        store,
        folder: repository,
        tag,
        atOnce,
        needsLock: lacks.some((lack) => unsafeLacks.has(lack)),
        signal,
        random: Math.random,
        onContent: ({ sizeBytes, isSent }) => {
          progress.add(sizeBytes);
          if (isSent) [sent.pieces, sent.bytes] = [sent.pieces + 1, sent.bytes + sizeBytes];
          else sent.skipped++;
        },
      });
    } finally {
      progress.stop();
      await store.close();
    }
    const { digest } = chosen.descriptor;
    if (json) writeJson(terminal, { image: `${repository}:${tag}`, digest, ...sent });
    else {
      const skipped = sent.skipped === 0 ? "" : `, ${sent.skipped} were there`;
      terminal.out(
        `${repository}:${tag} is ${digest}: ${sent.pieces} pieces sent (${formatBytes(sent.bytes)})${skipped}\n`,
      );
    }
    return exitCodes.ok;
  } catch (error) {
    if (signal.aborted)
      throw new CommandFailure("stopped; the next push goes on from here", { exitCode: exitCodes.interrupted });
    if (!(error instanceof LayoutError || error instanceof StoreError)) throw error;
    throw new CommandFailure(`${layout} was not pushed: ${error.message}`, { cause: error });
  }
}

/** @throws {LayoutError} it is no layout. */
async function openPlace(layout: string): Promise<Omit<Place, "kind">> {
  const { ForeignFolder } = await import("../../store/foreign-folder.ts");
  const { BufferPool } = await import("../../store/buffers.ts");
  const { readLayoutPlace } = await import("../../layout/place.ts");
  const { openArchive, rootOf } = await import("../../layout/archive.ts");
  const path = resolve(layout);
  const name = basename(path);
  try {
    const files = await ForeignFolder.open(dirname(path), new BufferPool());
    // It is called by the command line, not by its place.
    const naming = { namespace: "layouts.invalid", prefix: "image" } as Parameters<typeof readLayoutPlace>[3];
    const object = await files.get(name as Key);
    await object?.close();
    const archive = object && (await openArchive(files, name as Key, object.version));
    const place =
      archive === undefined
        ? await readLayoutPlace(files, name, "", naming)
        : await readLayoutPlace(archive, rootOf(archive), "", naming);
    if (place !== undefined) return place;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.name !== "StoreError")
      throw usage(`${layout}: ${explain(error)}`);
    throw error;
  }
  throw usage(`${layout} is no OCI image layout: it has no index.json`);
}

/** The image that is meant, of a layout. @throws {CommandFailure} it is not clear which. */
function choose({ images }: Pick<Place, "images">, layout: string, select: string | undefined): FoundImage {
  const fitting = images.filter(
    ({ tag, descriptor }) => select === undefined || tag === select || descriptor.digest === select,
  );
  const [first] = fitting;
  const digests = new Set(fitting.map(({ descriptor }) => descriptor.digest));
  if (first !== undefined && digests.size === 1) return first;
  const listed = images.map(({ tag, descriptor }) => `  ${descriptor.digest}${tag === undefined ? "" : ` ${tag}`}\n`);
  const what =
    images.length === 0 ? "has no images" : select === undefined ? "has several images" : `has no single ${select}`;
  const hint = images.length === 0 ? "" : `: name one by --select\n${listed.join("").trimEnd()}`;
  throw usage(`${layout} ${what}${hint}`);
}

/** @throws {CommandFailure} */
function readName(text: string): { readonly repository: Repository; readonly tag: Tag } {
  const [, name = "", tag = "latest"] = /^(.*?)(?::([^/:]*))?$/s.exec(text) ?? [];
  try {
    if (isDigest(text.slice(text.indexOf("@") + 1))) throw usage(`${text}: name a tag; its digest is what it is`);
    return { repository: parseRepository(name), tag: parseTag(tag) };
  } catch (error) {
    if (error instanceof OciError) throw usage(`${text}: ${error.message}`);
    throw error;
  }
}

function usage(message: string): CommandFailure {
  return new CommandFailure(message, { exitCode: exitCodes.usage });
}
