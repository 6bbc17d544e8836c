/*
 * A worker thread: many clients of one blob. It compares what they receive with the content that it shares with the
 * test, chunk by chunk, as hashing gigabytes would take the test's time. Clients are sockets that read into one buffer
 * each, so that the thread makes no garbage either.
 */
import { connect, type Socket } from "node:net";
import { parentPort, workerData } from "node:worker_threads";

/** One client's way of asking. */
export interface HerdClient {
  /** `Range` header, with the part of the content that must come; the whole where it is left out. */
  readonly range?: { readonly header: string; readonly start: number; readonly end: number };
  /** Leaves when it has read so many bytes of the body; 0: when the headers are here. */
  readonly leaveAfterBytes?: number;
  /** Reads so many bytes of the body, then nothing until `hurry`; then on to the end. */
  readonly restAfterBytes?: number;
}

/** What the test gives the thread. */
export interface HerdData {
  readonly port: number;
  readonly path: string;
  readonly content: SharedArrayBuffer;
  readonly clients: readonly HerdClient[];
}

/** What the thread says of a client, by its index. */
export type HerdMessage =
  | { readonly index: number; readonly kind: "headers"; readonly status: number; readonly head: string }
  /** It rests. */
  | { readonly index: number; readonly kind: "resting" }
  /** It left, as it was told. */
  | { readonly index: number; readonly kind: "left" }
  /** Its body was complete and right. */
  | { readonly index: number; readonly kind: "right"; readonly bytes: number }
  /** Its body was not. */
  | { readonly index: number; readonly kind: "wrong"; readonly reason: string };

/** What the test says to the thread: ask, client by client; or: those that rest go on. */
export type HerdCommand = { readonly start: number } | "hurry";

const port = parentPort;
if (port !== null) {
  const data = workerData as HerdData;
  const content = Buffer.from(data.content);
  const sockets: Socket[] = [];
  port.on("message", (command: HerdCommand) => {
    if (command === "hurry") {
      for (const socket of sockets) socket?.resume();
    } else {
      const client = data.clients[command.start];
      if (client !== undefined) {
        sockets[command.start] = ask(data, content, client, (message) =>
          port.postMessage({ index: command.start, ...message }),
        );
      }
    }
  });
}

type Told = HerdMessage extends infer Message ? (Message extends HerdMessage ? Omit<Message, "index"> : never) : never;

function ask(data: HerdData, content: Buffer, client: HerdClient, tell: (message: Told) => void): Socket {
  const { range, leaveAfterBytes = Infinity, restAfterBytes = Infinity } = client;
  const start = range?.start ?? 0;
  const wanted = (range?.end ?? content.length) - start;
  let head = "";
  let announced: number | undefined;
  let received = 0;
  let over = false;

  const end = (message: Told): void => {
    if (over) return;
    over = true;
    tell(message);
    socket.destroy();
  };
  const takeHead = (bytes: Buffer): Buffer => {
    head += bytes.toString("latin1");
    const edge = head.indexOf("\r\n\r\n");
    if (edge < 0) return bytes.subarray(bytes.length);
    const rest = head.length - edge - 4;
    head = head.slice(0, edge);
    announced = Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
    tell({ kind: "headers", status: Number(head.slice(9, 12)), head });
    if (leaveAfterBytes === 0) end({ kind: "left" });
    return bytes.subarray(bytes.length - rest);
  };
  const take = (bytes: Buffer): void => {
    const from = start + received;
    if (content.compare(bytes, 0, bytes.length, from, Math.min(content.length, from + bytes.length)) !== 0) {
      end({ kind: "wrong", reason: `other bytes in ${from} to ${from + bytes.length}` });
      return;
    }
    const rests = received < restAfterBytes && received + bytes.length >= restAfterBytes;
    received += bytes.length;
    if (received >= leaveAfterBytes) end({ kind: "left" });
    if (received >= wanted) {
      end(
        received === announced
          ? { kind: "right", bytes: received }
          : { kind: "wrong", reason: `${announced} bytes announced` },
      );
    }
    if (rests && !over) {
      socket.pause();
      tell({ kind: "resting" });
    }
  };

  const socket = connect({
    port: data.port,
    host: "127.0.0.1",
    onread: {
      buffer: Buffer.allocUnsafeSlow(256 * 1024),
      callback: (count: number, buffer: Uint8Array): boolean => {
        const bytes = Buffer.from(buffer.buffer, buffer.byteOffset, count);
        const body = announced === undefined ? takeHead(bytes) : bytes;
        if (body.length > 0 && !over) take(body);
        return true;
      },
    },
  });
  socket.on("error", (error) => end({ kind: "wrong", reason: error.message }));
  socket.on("close", () => end({ kind: "wrong", reason: `the connection ended after ${received} of ${wanted} bytes` }));
  const fields = ["Host: 127.0.0.1", ...(range === undefined ? [] : [`Range: ${range.header}`])];
  socket.write(`GET ${data.path} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`);
  return socket;
}
