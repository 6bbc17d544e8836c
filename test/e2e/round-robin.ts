import { connect, createServer, type Socket } from "node:net";

/** A port that leads to several others in turn, by connection; one that does not take it is passed over. */
export interface RoundRobin extends AsyncDisposable {
  readonly host: string;
}

/** Listens on a port of an address of this machine. */
export async function startRoundRobin(
  port: number,
  backends: readonly string[],
  address = "127.0.0.1",
): Promise<RoundRobin> {
  let next = 0;
  const open = new Set<Socket>();
  const keep = (socket: Socket): void => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  };
  const lead = (client: Socket, turn: number, triesLeft: number): void => {
    const [host = "", to = ""] = (backends[turn % backends.length] ?? "").split(":");
    const backend = connect(Number(to), host);
    let isConnected = false;
    keep(backend);
    backend.once("connect", () => {
      isConnected = true;
      client.pipe(backend).pipe(client);
    });
    backend.once("error", () => {
      if (isConnected || triesLeft === 0) client.destroy();
      else lead(client, turn + 1, triesLeft - 1);
    });
    client.once("close", () => backend.destroy());
    backend.once("close", () => isConnected && client.destroy());
  };
  const server = createServer((client) => {
    keep(client);
    client.on("error", () => undefined);
    lead(client, next++, backends.length - 1);
  });
  await new Promise<void>((resolve) => server.listen(port, address, resolve));
  return {
    host: `${address}:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
