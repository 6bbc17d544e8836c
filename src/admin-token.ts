import { readFile } from "node:fs/promises";
import { parseAdminToken } from "./config/admin-token.ts";
import { ConfigError } from "./config/config-error.ts";
import { explainReading } from "./config/named-files.ts";
import type { Config } from "./config/schema.ts";

/** Gets the administration's token; from a file it is read each time, so that it can be changed. */
export type AdminToken = () => Promise<string>;

/**
 * The administration's token, where one is configured; it has been read once.
 *
 * @throws {ConfigError} its file cannot be read, or holds no token.
 */
export async function readAdminToken({ adminToken, adminTokenFile: file }: Config): Promise<AdminToken | undefined> {
  if (adminToken !== undefined) return async () => adminToken;
  if (file === undefined) return undefined;
  const read = async (): Promise<string> => parseAdminToken((await readFile(file, "utf8")).trim());
  try {
    await read();
  } catch (error) {
    const isSystem = error instanceof Error && "code" in error;
    const reason = isSystem ? `cannot be read: ${explainReading(error)}` : `holds no token: ${String(error)}`;
    throw new ConfigError([`admin_token_file: ${file} ${reason}`]);
  }
  return read;
}
