import { reconcileContainerd } from "./containerd-files.ts";
import { reconcileCrio } from "./crio-file.ts";
import { FileLeft, isFolder } from "./files.ts";
import { type FileOutcome, OwnFiles } from "./own-files.ts";
import type { NodeSettings, Wanted } from "./settings.ts";

/** How a node's files are. */
export interface NodeState {
  readonly outcomes: readonly FileOutcome[];
  /** What is written and not used, or not by each runtime, with what to do. */
  readonly notes: readonly string[];
}

/**
 * Makes the files of a node's runtimes say what is wanted: what is missing is written, and what is there of this owner
 * and no longer wanted is taken back. Nothing that anybody else has written is changed or removed. May be called at any
 * time, by several processes, and again after a crash.
 *
 * @param wanted `undefined` takes back all.
 * @param isDryRun Only looks.
 * @throws Where it cannot be told what is there.
 */
export async function reconcile(
  settings: NodeSettings,
  wanted: Wanted | undefined,
  isDryRun = false,
): Promise<NodeState> {
  if (!(await isFolder(settings.hostRoot))) throw new FileLeft(`there is no folder ${settings.hostRoot}`);
  const own = new OwnFiles(settings.owner, isDryRun);
  if (settings.containerdHosts !== "none") await reconcileContainerd(own, settings, wanted);
  await reconcileCrio(own, settings, wanted);
  return own;
}
