import { readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { createServer, type TLSSocket } from "node:tls";
import { run } from "./programs.ts";

/** A door to a server without TLS for those who ask for it with TLS, by a name; it can be shut and opened again. */
export class TlsDoor implements AsyncDisposable {
  /** The certificate that clients must trust. */
  readonly certificate: string;
  readonly #address: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #open = new Set<Socket | TLSSocket>();

  private constructor(address: string, to: string, certificate: string, key: string) {
    this.#address = address;
    this.certificate = certificate;
    const [host = "", port = ""] = to.split(":");
    this.#server = createServer({ cert: certificate, key }, (client) => {
      const server = connect(Number(port), host);
      for (const [socket, other] of [
        [client, server],
        [server, client],
      ] as const) {
        this.#open.add(socket);
        socket.on("error", () => other.destroy());
        socket.once("close", () => {
          this.#open.delete(socket);
          other.destroy();
        });
      }
      client.pipe(server).pipe(client);
    });
  }

  /** Opens one at port 443 of an address, for `to` (`host:port`). */
  static async open(directory: string, name: string, address: string, to: string): Promise<TlsDoor> {
    const own = (suffix: string): string => join(directory, `${name}.${suffix}`);
    const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    const names = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
    await run(["/usr/bin/openssl", "req", ...kind, ...names, "-keyout", own("key"), "-out", own("pem")]);
    const [certificate, key] = await Promise.all([readFile(own("pem"), "utf8"), readFile(own("key"), "utf8")]);
    const door = new TlsDoor(address, to, certificate, key);
    await door.open();
    return door;
  }

  async open(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(443, this.#address, resolve));
  }

  /** From now on connections are refused, and those that were there are cut. */
  async shut(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#open) socket.destroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shut();
  }
}
