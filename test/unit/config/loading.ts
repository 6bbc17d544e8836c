import { ConfigError } from "../../../src/config/config-error.ts";
import { loadConfig } from "../../../src/config/load.ts";
import type { Config } from "../../../src/config/file-schema.ts";
import type { StorageType } from "../../../src/config/setting.ts";
import { certificate } from "../upstream/certificate.ts";

/** What a test gives to `loadConfig`: `files` by path. */
export interface Given {
  readonly flags?: Record<string, string | boolean>;
  readonly command?: StorageType;
  readonly env?: Record<string, string>;
  readonly files?: Record<string, string | Buffer>;
}

/** Certificates and keys that files of tests name. */
export const pems: Readonly<Record<string, string>> = {
  "/etc/ca.pem": `${certificate.cert}\n${certificate.cert}`,
  "client.pem": certificate.cert,
  "client.key": certificate.key,
};

/** Loads a configuration from files that are only in memory. */
export function load({ flags = {}, command, env = {}, files = {} }: Given = {}): Config {
  return loadConfig({
    flags,
    command,
    env,
    readFile(path) {
      const content = files[path];
      if (content === undefined) {
        throw Object.assign(new Error(`no ${path}`), { code: "ENOENT" });
      }
      return typeof content === "string" ? Buffer.from(content) : content;
    },
  });
}

/** Loads one file as `--config c.yaml`. */
export function loadFile(content: string | Buffer, more: Given = {}): Config {
  return load({ ...more, flags: { config: "c.yaml", ...more.flags }, files: { "c.yaml": content, ...more.files } });
}

/** The problems that loading finds; none where it succeeds. */
export function problemsOf(task: () => unknown): readonly string[] {
  try {
    task();
    return [];
  } catch (error) {
    if (error instanceof ConfigError) {
      return error.problems;
    }
    throw error;
  }
}
