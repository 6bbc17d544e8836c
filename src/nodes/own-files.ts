import { dirname } from "node:path";
import { removeFile, sweep, writeText } from "./files.ts";
import { type Left, takeOut } from "./owned-part.ts";

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
  /** The highest folder that may be made for it. */
  readonly top: string;
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
      await this.#try(file, "written", () => writeText(file.path, file.before, after.text, this.owner));
    }
  }

  /**
   * Takes back what this owner has written in a file, if anything.
   *
   * @param isWanted Whether anything is wanted at all.
   */
  async takeBack(file: KnownFile, isWanted: boolean): Promise<void> {
    const { name, path, before = "" } = file;
    const own = takeOut(before, this.owner);
    if ("why" in own) {
      this.add(name, "left", own.why);
    } else if (own.at !== undefined && this.#isDryRun) {
      this.add(name, isWanted ? "surplus" : "kept");
    } else if (own.at !== undefined) {
      const { rest, made } = own;
      const top = made.includes("root") ? file.top : made.includes("folder") ? dirname(path) : path;
      await this.#try(file, "removed", () =>
        rest === "" && made.includes("file")
          ? removeFile(path, before, top, this.owner)
          : writeText(path, before, rest, this.owner),
      );
    }
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

  async #try({ name }: KnownFile, state: "written" | "removed", act: () => Promise<void>): Promise<void> {
    try {
      await act();
      this.add(name, state);
    } catch (error) {
      this.add(name, "left", (error as Error).message);
    }
  }
}
