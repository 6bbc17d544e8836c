import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "../support/event-loop.ts";
import { type Program, type ProgramOptions, run, start } from "./programs.ts";

/**
 * A machine of its own within this one: with a network, mounts, processes, and folders /etc, /var and /run of its own. With
 * the process that began it, however that ends, all of it is gone: each process, each mount, each rule of its network.
 */
export class Machine implements AsyncDisposable {
  /** Where it is reached from outside, and from within. */
  readonly address: string;
  /** Where it reaches what listens outside. */
  readonly outside: string;
  readonly #directory: string;
  readonly #program: Program;
  readonly #pid: string;

  private constructor(directory: string, program: Program, pid: string) {
    // Each has a network of four addresses, by its process, so that several at once are unlike.
    const network = (Number(pid) % 16_384) * 4;
    const address = (host: number): string => `10.213.${network >> 8}.${(network & 255) + host}`;
    this.outside = address(1);
    this.address = address(2);
    this.#directory = directory;
    this.#program = program;
    this.#pid = pid;
  }

  /** Begins one; what it writes to is below the folder, which is seen within at the same path. */
  static async start(directory: string): Promise<Machine> {
    const pidFile = join(directory, "machine.pid");
    const own = (name: string): string => join(directory, "machine", name);
    const overlays = ["etc", "var"].map((name) => {
      const options = `lowerdir=/${name},upperdir=${own(name)},workdir=${own(`${name}-work`)}`;
      return `mount -t overlay -o ${options} overlay /${name}`;
    });
    for (const name of ["etc", "etc-work", "var", "var-work"]) await mkdir(own(name), { recursive: true });
    // /proc is that of outside at first, and tells what its process is there.
    const script = [
      "set -e",
      "read -r pid _ < /proc/self/stat",
      "mount -t proc proc /proc",
      ...overlays,
      "mount -t tmpfs tmpfs /run",
      "ip link set lo up",
      `echo "$pid" > ${pidFile}`,
      "sleep infinity & wait",
    ];
    const ownNamespaces = ["/usr/bin/unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL"];
    const program = await start("machine", {
      directory,
      command: ["/usr/bin/setpriv", "--pdeathsig", "SIGKILL", ...ownNamespaces, "/bin/sh", "-c", script.join("\n")],
      isReady: async () => (await readFile(pidFile, "utf8")).endsWith("\n"),
    });
    const machine = new Machine(directory, program, (await readFile(pidFile, "utf8")).trim());
    await machine.#connect();
    return machine;
  }

  /** Starts a program in it; it ends with the machine, and not before. */
  async start(name: string, options: Omit<ProgramOptions, "directory">): Promise<void> {
    await start(name, { ...options, directory: this.#directory, command: this.#within(options.command) });
  }

  /** Runs a program in it to its end, and gives what it wrote. */
  run(...command: readonly [file: string, ...parameters: string[]]): Promise<string> {
    return run(this.#within(command));
  }

  /** The status of what a URL answers from within; "none" where nobody does. */
  async status(url: string): Promise<string> {
    try {
      await this.run("/bin/busybox", "wget", "-q", "-O", "/dev/null", url);
      return "200";
    } catch (error) {
      return /HTTP\/1\.1 (\d+)/.exec(String(error))?.[1] ?? "none";
    }
  }

  /** Writes a file that only it sees, below its /etc. */
  async writeEtc(path: string, text: string): Promise<void> {
    const script = 'mkdir -p "$(dirname "$0")" && rm -f "$0" && printf %s "$1" > "$0"';
    await this.run("/bin/sh", "-c", script, join("/etc", path), text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its first process is gone only when all others are; who began it would not wait for that.
    process.kill(Number(this.#pid), "SIGKILL");
    await until(() => !existsSync(`/proc/${this.#pid}`));
    await this.#program.kill();
  }

  async #connect(): Promise<void> {
    const link = `test${this.#pid}`;
    const ip = (...args: string[]): Promise<string> => run(["/usr/sbin/ip", ...args]);
    await ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", this.#pid);
    await ip("address", "add", `${this.outside}/30`, "dev", link);
    await ip("link", "set", link, "up");
    await this.run("/usr/sbin/ip", "address", "add", `${this.address}/30`, "dev", "eth0");
    await this.run("/usr/sbin/ip", "link", "set", "eth0", "up");
    // Nothing leads further: names are asked of nobody outside.
    await this.writeEtc("resolv.conf", `nameserver ${this.address}\n`);
  }

  #within(command: ProgramOptions["command"]): ProgramOptions["command"] {
    return ["/usr/bin/nsenter", "--target", this.#pid, "--net", "--mount", "--pid", "--", ...command];
  }
}
