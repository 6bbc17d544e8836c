import type { Socket } from "node:net";

const one = 0x31;
const zero = 0x30;
const two = 0x32;
/** Where in a status line its code begins: `HTTP/1.1 100`. */
const codeAt = 9;
const blankLine = Buffer.from("\r\n\r\n");

/**
 * Lets undici read past a `100 Continue` that nobody asked for (RFC 9110 §15.2: a client has to; undici#197). It takes
 * one for the end of all sense and cuts the connection, though not the other 1xx: so it is shown a 102 instead.
 *
 * Only what comes before a final status line is touched: undici has one request at a time on a connection, so what it
 * reads after a write is the beginning of an answer, and reading is left alone once a code from 200 on has been seen.
 */
export function acceptContinue(socket: Socket): void {
  const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
  const read = socket.read.bind(socket) as (size?: number) => Buffer | null;
  const answer = new AnswerHeads();
  socket.write = (...args: unknown[]): boolean => {
    answer.begin();
    return write(...args);
  };
  socket.read = (size?: number): Buffer | null => {
    const chunk = read(size);
    if (chunk !== null) {
      answer.look(chunk);
    }
    return chunk;
  };
}

/** The heads of an answer up to its final status line, in chunks as they come. */
class AnswerHeads {
  /** How many bytes of a status line have been seen. */
  #seen = 0;
  /** How many bytes of the blank line that ends a head have been seen. */
  #blank = 0;
  #isFinal = true;

  begin(): void {
    this.#seen = 0;
    this.#blank = 0;
    this.#isFinal = false;
  }

  /** Makes 100 a 102 in place. */
  look(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && !this.#isFinal; at++) {
      const byte = chunk[at] ?? 0;
      if (this.#seen === codeAt && byte !== one) {
        this.#isFinal = true;
      } else if (this.#seen === codeAt + 1 && byte !== zero) {
        this.#seen++; // A code from 110 on.
      } else if (this.#seen === codeAt + 2 && byte === zero) {
        chunk[at] = two;
      }
      this.#seen++;
      this.#blank = byte === blankLine[this.#blank] ? this.#blank + 1 : byte === blankLine[0] ? 1 : 0;
      if (this.#blank === blankLine.length) {
        this.#seen = 0;
        this.#blank = 0;
      }
    }
  }
}
