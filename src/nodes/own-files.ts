import { mkdir } from "node:fs/promises";
import { removeFile, sweep, writeText } from "./files.ts";
import { type Left, type Made, takeOut } from "./owned-part.ts";

/** What became of one file, or of a registry that gets none. */
export interface FileOutcome {
  /** The file's path on the node, or the registry's name. */
  readonly file: string;
  /**
   * `skipped` needs nothing; `left` is not as it should be. Of a dry run: `missing` would be written, and `surplus` taken
   * away.
   */
  readonly state: "written" | "kept" | "removed" | "skipped" | "left" | "missing" | "surplus";
  readonly why?: string;
}

/** A file as it was read. */
export interface KnownFile {
  /** Its path on the node, and here. */
  readonly name: string;
  readonly path: string;
  /** The folder in which folders may be made for the file: its own, or the one above. */
  readonly root: string;
  /** `undefined` where there is none. */
  readonly before: string | undefined;
}

/** Writes and takes back what is one owner's, and remembers what became of it. */
export class OwnFiles {
  readonly outcomes: FileOutcome[] = [];
  /** What is written and not used, with what to do. */
  readonly notes: string[] = [];
  readonly owner: string;
  readonly #isDryRun: boolean;

  /** @param isDryRun Only looks. */
  constructor(owner: string, isDryRun: boolean) {
    this.owner = owner;
    this.#isDryRun = isDryRun;
  }

  /** Remembers an outcome, once. */
  add(file: string, state: FileOutcome["state"], why?: string): void {
    const isSaid = this.outcomes.some((each) => each.file === file && each.state === state && each.why === why);
    if (!isSaid) this.outcomes.push(why === undefined ? { file, state } : { file, state, why });
  }

  /** Makes a file be what it is to be. */
  async write(file: KnownFile, after: { readonly text: string } | Left): Promise<void> {
    if ("why" in after) this.add(file.name, "left", after.why);
    else if (after.text === file.before) this.add(file.name, "kept");
    else if (this.#isDryRun) this.add(file.name, "missing");
    else {
      await this.#try(file, "written", async () => {
        await mkdir(file.root, { recursive: true, mode: 0o755 });
        await writeText(file.path, file.before, after.text, this.owner);
      });
    }
  }

  /**
   * Takes back what this owner has written in a file, if anything; returns what may go with it.
   *
   * @param isWanted Whether anything is wanted at all.
   */
  async takeBack(file: KnownFile, isWanted: boolean): Promise<readonly Made[]> {
    const { before = "" } = file;
    const own = takeOut(before, this.owner);
    if ("why" in own) {
      this.add(file.name, "left", own.why);
      return [];
    }
    if (own.at === undefined) return [];
    if (this.#isDryRun) {
      this.add(file.name, isWanted ? "surplus" : "kept");
      return [];
    }
    const { rest, made } = own;
    const isRemoved = await this.#try(file, "removed", () =>
      rest === "" && made.includes("file")
        ? removeFile(file.path, before, made, file.root, this.owner)
        : writeText(file.path, before, rest, this.owner),
    );
    return isRemoved ? made : [];
  }

  /** Removes what a process that was killed has left in folders. */
  async sweep(folders: readonly string[]): Promise<void> {
    for (const folder of this.#isDryRun ? [] : folders) {
      try {
        await sweep(folder, this.owner);
      } catch (error) {
        // Another process was faster.
        if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
        this.add(folder, "left", `what a crash has left behind cannot be removed: ${(error as Error).message}`);
      }
    }
  }

  async #try(file: KnownFile, state: "written" | "removed", act: () => Promise<void>): Promise<boolean> {
    try {
      await act();
    } catch (error) {
      this.add(file.name, "left", (error as Error).message);
      return false;
    }
    this.add(file.name, state);
    return true;
  }
}
