import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { parseAdminToken } from "../config/file-schema.ts";
import { ConfigError } from "../config/config-error.ts";
import { explainReading } from "../config/named-files.ts";
import type { Config } from "../config/file-schema.ts";
import { decodeText, TextError } from "../config/text.ts";
import { OciError } from "../oci/errors.ts";

/** Gets the administration's token. What it throws is for whoever asked for something that needs it. */
export type AdminToken = () => Promise<string>;

const cacheMs = 1_000;
const maxFileBytes = 64 * 1024;

/**
 * The administration's token, where one is configured; it has been read once. A file is read again when it is asked for
 * a second later, so that it can be changed; where that fails, asking is UNAVAILABLE.
 *
 * @param now Milliseconds that never go back.
 * @throws {ConfigError} its file cannot be read, is no regular file, or holds no token.
 */
export async function readAdminToken(
  { adminToken, adminTokenFile: file }: Pick<Config, "adminToken" | "adminTokenFile">,
  now: () => number = () => performance.now(),
): Promise<AdminToken | undefined> {
  if (adminToken !== undefined) return async () => adminToken;
  if (file === undefined) return undefined;
  try {
    await readToken(file);
  } catch (error) {
    const isUnread = error instanceof TextError || (error instanceof Error && "code" in error);
    const reason = isUnread ? `cannot be read: ${explainReading(error)}` : String((error as Error).message);
    throw new ConfigError([`admin_token_file: ${file} ${reason}`]);
  }
  let last: { readonly at: number; readonly token: Promise<string> } | undefined;
  return () => {
    if (last === undefined || now() - last.at >= cacheMs) last = { at: now(), token: ask(file) };
    return last.token;
  };
}

async function ask(file: string): Promise<string> {
  try {
    return await readToken(file);
  } catch (error) {
    throw new OciError("UNAVAILABLE", "the administration's token cannot be read", { cause: error });
  }
}

async function readToken(file: string): Promise<string> {
  // Opening a pipe to which nobody writes would take a thread for ever.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) throw new Error("is no regular file");
    const text = await readStart(handle);
    try {
      return parseAdminToken(text.trim());
    } catch (error) {
      throw new Error(`holds no token: it ${(error as Error).message}`, { cause: error });
    }
  } finally {
    await handle.close();
  }
}

async function readStart(handle: FileHandle): Promise<string> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(maxFileBytes), 0, maxFileBytes, 0);
  return decodeText(buffer.subarray(0, bytesRead));
}
