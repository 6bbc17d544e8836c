import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { request } from "../support/http.ts";
import { type Program, run, start } from "./programs.ts";

/** Debian's nginx with a configuration of its own; nothing of it lies outside of `directory`. */
export interface Nginx extends AsyncDisposable {
  readonly program: Program;
  /** What it has complained of so far. */
  errors(): Promise<string>;
}

/**
 * Starts it with what is to stand within `http { … }`, and waits until it answers.
 *
 * @throws {Error} nginx does not take the configuration (`nginx -t`).
 */
export async function startNginx(directory: string, host: string, http: string): Promise<Nginx> {
  const own = join(directory, "nginx");
  await mkdir(own, { recursive: true });
  const file = join(own, "nginx.conf");
  const errorLog = join(own, "error.log");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${join(own, kind)};`,
  );
  await writeFile(
    file,
    `daemon off;\nuser root;\npid ${join(own, "nginx.pid")};\nerror_log ${errorLog};\nevents {}\n` +
      `http {\naccess_log off;\n${temporary.join("\n")}\n${http}\n}\n`,
  );
  const command = ["/usr/sbin/nginx", "-e", errorLog, "-p", own, "-c", file] as const;
  await run([...command, "-t"]);
  const program = await start("nginx", {
    directory,
    command,
    isReady: async () => (await request(`http://${host}/v2/`)).status === 200,
  });
  return { program, errors: () => readFile(errorLog, "utf8"), [Symbol.asyncDispose]: () => program.stop() };
}

/** The example of docs/nginx.md with other addresses, and another folder. */
export async function documentedConfiguration(host: string, entrepot: string, root: string): Promise<string> {
  const page = await readFile(new URL("../../docs/nginx.md", import.meta.url), "utf8");
  const [, example = ""] = /```nginx\n(upstream entrepot [\s\S]*?)```/.exec(page) ?? [];
  return example
    .replace("listen 80;", `listen ${host};`)
    .replace("server 127.0.0.1:8080;", `server ${entrepot};`)
    .replace("alias /var/lib/entrepot/;", `alias ${root}/;`);
}
