import { readFileSync } from "node:fs";

/** The program's version, from package.json, which stands at the same place above `src/` and `dist/`. */
export function readVersion(): string {
  const description: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return (description as { version: string }).version;
}
