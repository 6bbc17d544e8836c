import type { Command } from "commander";
import type { BufferPool } from "../../store/buffers.ts";
import type { Config } from "../../config/file-schema.ts";
import type { LayoutConfig } from "../../config/layout-schema.ts";
import type { LayoutCheck } from "../../layout/check.ts";
import { parseNamespace } from "../../oci/reference.ts";
import { StoreError } from "../../store/object-store.ts";
import { loadConfiguration } from "../configuration.ts";
import { showContent } from "../content-progress.ts";
import { formatCount } from "../quantities.ts";
import { formatTable } from "../table.ts";
import { CommandFailure, exitCodes } from "../terminal.ts";
import { addCommand, type CommandContext, writeJson } from "./command.ts";

interface CheckFlags {
  readonly deep?: boolean;
  readonly json?: boolean;
}

/** A source of layouts with what is found there. */
interface CheckedSource extends LayoutCheck {
  readonly namespace: string;
  readonly source: string;
}

/** The namespace of a source that no configuration names; it is in no image's name. */
const unnamed = parseNamespace("layouts.invalid");

/** Adds `layouts check`, which says what is found among other programs' images, and what is wrong with them. */
export function addLayoutCommands(context: CommandContext): Command {
  const { terminal, finish } = context;
  const layouts = addCommand(context, "layouts", "look at image layouts that are served in place", []);
  layouts.usage("check [options]").action(() => {
    throw new CommandFailure("name what to do: layouts check", { exitCode: exitCodes.usage });
  });
  const about = "list the images of layouts, and what is wrong with them";
  const check = addCommand({ program: layouts }, "check [source]", about, ["config"])
    .usage("[options] [FOLDER | s3://BUCKET[/PREFIX]]")
    .option("--deep", "read each blob, and see that it has its digest")
    .option("--json", "write what was found as JSON, for scripts")
    .addHelpText(
      "after",
      "\nWithout a source those of the configuration (`layouts`) are looked at. A bucket is reached as storage.s3 of the\n" +
        "configuration is, or by AWS's own settings. Exit code 1 where something is wrong.",
    )
    .action(async (from: string | undefined) => {
      const { deep = false, json = false } = check.opts<CheckFlags>();
      const config = await loadConfiguration(check, terminal);
      const sources = from === undefined ? config.layouts : [await sourceOf(from)];
      if (sources.length === 0) {
        throw new CommandFailure("no layouts are configured: name a folder, or add `layouts` to the configuration", {
          exitCode: exitCodes.usage,
        });
      }
      const { BufferPool: Pool } = await import("../../store/buffers.ts");
      const pool = new Pool();
      const checked: CheckedSource[] = [];
      for (const [index, source] of sources.entries()) {
        const key = from === undefined ? `layouts[${index}].source` : "source";
        checked.push(await checkSource(context, config, { ...source, key, pool, isDeep: deep }));
      }
      if (json) writeJson(terminal, checked);
      else for (const each of checked) terminal.out(await describe(each));
      finish(checked.some(({ problems }) => problems.length > 0) ? exitCodes.failed : exitCodes.ok);
    });
  return layouts;
}

type Source = Pick<LayoutConfig, "namespace" | "namePrefix" | "source" | "s3">;

async function sourceOf(from: string): Promise<Source> {
  const { parseLayoutSource } = await import("../../config/layout-schema.ts");
  const { ValueError } = await import("../../config/config-error.ts");
  try {
    return { namespace: unnamed, namePrefix: undefined, source: parseLayoutSource(from), s3: undefined };
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new CommandFailure(`${from} cannot be looked at: ${error.message}`, { exitCode: exitCodes.usage });
  }
}

async function checkSource(
  { person, stopSignal }: CommandContext,
  config: Config,
  options: Source & { readonly key: string; readonly pool: BufferPool; readonly isDeep: boolean },
): Promise<CheckedSource> {
  const { namespace, namePrefix: prefix, source, key, pool, isDeep } = options;
  const { checkLayouts } = await import("../../layout/check.ts");
  const { openLayoutSource } = await import("../../app/layouts.ts");
  const { formatLayoutSource } = await import("../../config/layout-schema.ts");
  const opened = await openLayoutSource(options, config, pool, key);
  const progress = await showContent(person.screen, "read");
  try {
    const signal = stopSignal();
    const found = await checkLayouts(
      opened.files,
      { namespace, prefix },
      {
        isDeep,
        signal,
        onLooked: (bytes) => progress.add(bytes),
      },
    );
    return { namespace, source: formatLayoutSource(source), ...found };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    throw new CommandFailure(`${formatLayoutSource(source)} cannot be looked at: ${error.message}`, { cause: error });
  } finally {
    progress.stop();
    await opened.close();
  }
}

async function describe({ namespace, source, images, problems }: CheckedSource): Promise<string> {
  const rows = images.map(({ repository, tag, digest, kind, path, platforms }) => [
    `${namespace === unnamed ? "" : `${namespace}/`}${repository}${tag === null ? `@${digest.slice(0, 19)}` : `:${tag}`}`,
    digest.slice(0, 19),
    kind,
    path === "" ? "." : path,
    platforms.join(" "),
  ]);
  const heads = ["IMAGE", "DIGEST", "KIND", "PLACE", "PLATFORMS"].map((head) => ({ head }));
  const table = rows.length === 0 ? "" : await formatTable(heads, rows);
  const wrong = problems.map(({ path, problem }) => `${path === "" ? "." : path}: ${problem}\n`).join("");
  const sum = `${source}: ${formatCount(images.length, "image")}, ${formatCount(problems.length, "problem")}\n`;
  return `${table}${wrong}${sum}`;
}
