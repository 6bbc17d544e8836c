import type { ForeignReader } from "../store/foreign-folder.ts";
import type { Key } from "../store/object-store.ts";

/**
 * Where image layouts lie that other programs make: a folder, a bucket, or an archive. They are only read, and may change
 * at any moment. What is listed with an empty prefix is everything.
 */
export type LayoutFiles = Pick<ForeignReader, "list" | "get">;

/** The prefix below which everything lies. */
export const everything: Key = "" as Key;

/** The key of a name in a folder. */
export function within(folder: string, name: string): Key {
  return (folder === "" ? name : `${folder}/${name}`) as Key;
}
