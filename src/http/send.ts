import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { BodyStream } from "./reply.ts";

/**
 * Writes a stream as a response's body, one chunk at a time: the next is asked for when the kernel has taken the last,
 * so that a slow client holds one chunk and no more. Resolves to the bytes that were written.
 *
 * Where the stream fails, or the client leaves or takes nothing for `idleMs`, the connection is destroyed: a body that
 * ends early must not look complete. Then it rejects. The stream is closed in every case.
 *
 * @param delimited Whether the response says where its body ends, by `Content-Length` or chunks. One that does not (for
 *   HTTP/1.0 clients) is complete when the connection closes, so it is reset instead (RFC 9112 §6.3, §8). A Unix socket
 *   cannot be reset, only closed.
 */
export async function sendBody(
  response: ServerResponse,
  body: BodyStream,
  idleMs: number,
  delimited: boolean,
): Promise<number> {
  const gone = new AbortController();
  let refuse: ((error: Error) => void) | undefined;
  const leave = (error: Error): void => {
    gone.abort(error);
    refuse?.(error);
  };
  const onClose = (): void => leave(new ClientGone("the client closed the connection"));
  response.once("close", onClose);
  // While nothing is being written it is the upstream that is slow, not the client.
  response.setTimeout(idleMs, () => {
    if (refuse !== undefined) leave(new ClientGone(`the client took nothing for ${idleMs} ms`));
  });
  const write = (chunk: Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      refuse = reject;
      response.write(chunk, (error) => {
        refuse = undefined;
        if (error) reject(new ClientGone(error.message));
        else resolve();
      });
    });
  let sent = 0;
  try {
    if (response.destroyed) onClose();
    for await (const chunk of body.read(gone.signal)) {
      gone.signal.throwIfAborted();
      await write(chunk);
      sent += chunk.length;
    }
    response.off("close", onClose);
    response.end();
    return sent;
  } catch (error) {
    if (!delimited) reset(response.socket);
    response.destroy();
    throw error;
  } finally {
    response.off("close", onClose);
    await body.close();
  }
}

function reset(socket: Socket | null): void {
  try {
    socket?.resetAndDestroy();
  } catch {
    // Not TCP: the caller destroys it.
  }
}

/** The client left, or stopped taking bytes, before its answer was complete. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
}
