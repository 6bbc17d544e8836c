import { once } from "node:events";
import { lstat, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { codeOf } from "../store/object-store.ts";

/** Where a server listens; without a host at all addresses, of IPv6 too where the machine has it. */
export type Address = { readonly host?: string | undefined; readonly port: number } | { readonly path: string };

/**
 * Listens at `address`; a socket that a killed process has left behind is taken over. Resolves to `http://host:port` or
 * `unix:/path`; rejects with the system's error where that is not possible.
 */
export async function listenAt(server: Server, address: Address): Promise<string> {
  try {
    await bind(server, address);
  } catch (error) {
    if (!("path" in address) || codeOf(error) !== "EADDRINUSE" || !(await isAbandoned(address.path))) throw error;
    await unlink(address.path);
    await bind(server, address);
  }
  return formatAddress(server);
}

function bind(server: Server, address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(address, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Whether `path` is a socket at which nobody listens any more: a process that is killed leaves it behind. */
async function isAbandoned(path: string): Promise<boolean> {
  // Other files refuse connections as well, and are not ours to remove.
  if (!(await lstat(path)).isSocket()) return false;
  const socket = connect(path);
  try {
    await once(socket, "connect");
    return false;
  } catch (error) {
    return codeOf(error) === "ECONNREFUSED";
  } finally {
    socket.destroy();
  }
}

function formatAddress(server: Server): string {
  const address = server.address();
  if (address === null) return "closed";
  if (typeof address === "string") return `unix:${address}`;
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return `http://${host}:${address.port}`;
}
