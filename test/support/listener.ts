import { createServer, type RequestListener } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** An HTTP server on 127.0.0.1 that can go away and come back. */
export interface Listener {
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  /** Stops listening and resets all connections; nothing happens when it is down already. */
  down(): Promise<void>;
  /** Listens again, on the same port. */
  up(): Promise<void>;
  /** How many connections are left when clients have had `graceMs` to close theirs; at once when none is. */
  openAfter(graceMs: number): Promise<number>;
}

/** Starts a server on a free port. */
export async function createListener(serve: RequestListener): Promise<Listener> {
  const sockets = new Map<Socket, Promise<void>>();
  const server = createServer({ keepAliveTimeout: 0 }, serve);
  server.on("connection", (socket: Socket) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    sockets.set(socket, promise);
    socket.once("close", () => {
      sockets.delete(socket);
      resolve();
    });
  });

  function listen(port: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", reject);
      resolve();
    });
    return promise;
  }

  await listen(0);
  const { port } = server.address() as AddressInfo;

  return {
    host: `127.0.0.1:${port}`,
    up: () => listen(port),
    async down() {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve()); // Its error says only that the server was down.
      const closed = [...sockets.values()];
      for (const socket of sockets.keys()) {
        socket.resetAndDestroy();
      }
      await Promise.all([promise, ...closed]);
    },
    async openAfter(graceMs) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, graceMs);
      await Promise.race([promise, Promise.all(sockets.values())]);
      clearTimeout(timer);
      return sockets.size;
    },
  };
}
