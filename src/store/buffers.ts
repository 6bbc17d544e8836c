const largest = 1024 * 1024;
const smallest = 32 * 1024;
const spare = 16 * 1024 * 1024;

/**
 * Read buffers that are used again and again, so that a gigabyte that is served makes no gigabyte of garbage.
 *
 * The more is lent, the smaller the next buffer: a few readers get 1 MiB each (fewer system calls), hundreds of slow
 * ones 32 KiB each. So what is lent stays near `budgetBytes`, whatever the number of clients.
 */
export class BufferPool {
  readonly #budgetBytes: number;
  readonly #free = new Map<number, Buffer[]>();
  #lentBytes = 0;
  #freeBytes = 0;

  constructor(budgetBytes: number = 24 * 1024 * 1024) {
    this.#budgetBytes = budgetBytes;
  }

  /** Bytes that are lent now. */
  get lentBytes(): number {
    return this.#lentBytes;
  }

  /** Lends a buffer, of at most about `wantedBytes`; give it back with `release` when nobody reads it any more. */
  acquire(wantedBytes: number): Buffer {
    const allowed = Math.min(wantedBytes, (this.#budgetBytes - this.#lentBytes) / 8);
    let size = smallest;
    while (size < largest && size < allowed) size *= 2;
    const buffer = this.#free.get(size)?.pop();
    this.#lentBytes += size;
    if (buffer === undefined) return Buffer.allocUnsafeSlow(size);
    this.#freeBytes -= size;
    return buffer;
  }

  release(buffer: Buffer): void {
    const size = buffer.length;
    this.#lentBytes -= size;
    if (this.#freeBytes + size > spare) return;
    const list = this.#free.get(size);
    if (list === undefined) this.#free.set(size, [buffer]);
    else list.push(buffer);
    this.#freeBytes += size;
  }
}
