import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIP } from "node:net";
import type { TestContext } from "node:test";

/** A name server on 127.0.0.1. */
export interface NameServer {
  /** `127.0.0.1:<port>`. */
  readonly address: string;
  /** The names that were asked for, once for each kind of address. */
  readonly asked: string[];
  /** Resolves when that many questions have come. */
  questions(count: number): Promise<void>;
}

const typeA = 1;
const typeAaaa = 28;

/**
 * Starts a name server (RFC 1035), which is stopped after the test.
 *
 * @param answers The addresses of a name: none, where it is empty, and no answer at all, where it is `undefined`.
 */
export async function startNameServer(
  context: TestContext,
  answers: (name: string) => readonly string[] | undefined,
): Promise<NameServer> {
  const socket = createSocket("udp4");
  const asked: string[] = [];
  const expected: { count: number; resolve: () => void }[] = [];
  socket.on("message", (question, { port }) => {
    const { name, end } = readName(question);
    const kind = question.readUInt16BE(end);
    asked.push(name);
    for (const { count, resolve } of expected) {
      if (asked.length >= count) resolve();
    }
    const addresses = answers(name);
    if (addresses === undefined) return;
    const fitting = addresses.filter((address) => isIP(address) === (kind === typeA ? 4 : 6));
    // Of its own head: an answer, without error, with one question.
    const head = Buffer.from(question.subarray(0, 12));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(fitting.length, 6);
    head.writeUInt32BE(0, 8);
    const records = fitting.map((address) => toRecord(address));
    socket.send(Buffer.concat([head, question.subarray(12, end + 4), ...records]), port, "127.0.0.1");
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  context.after(() => void socket.close());
  return {
    address: `127.0.0.1:${socket.address().port}`,
    asked,
    questions(count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (asked.length >= count) resolve();
      else expected.push({ count, resolve });
      return promise;
    },
  };
}

function readName(question: Buffer): { name: string; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
    labels.push(question.toString("ascii", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join("."), end: at + 1 };
}

/** A record of the name that stands at the question's place, good for a minute. */
function toRecord(address: string): Buffer {
  const data =
    isIP(address) === 4
      ? Buffer.from(address.split(".").map(Number))
      : Buffer.from(
          address
            .split(":")
            .map((group) => group.padStart(4, "0"))
            .join(""),
          "hex",
        );
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(isIP(address) === 4 ? typeA : typeAaaa, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(60, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}
