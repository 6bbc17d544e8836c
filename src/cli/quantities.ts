const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** A size for people: `3.4 MiB`. */
export function formatBytes(bytes: number): string {
  let size = bytes;
  let unit = 0;
  // From here on it would be written as 1024.0.
  while (size >= 1023.95 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

/** A time that something took, for people: `350 ms`, `4.2 s`, `12 min`. */
export function formatMs(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return coarse(ms);
}

/** How long ago a time was, for people; `-` for none. */
export function formatAgo(time: number | undefined, now: number): string {
  if (time === undefined) return "-";
  const ms = now - time;
  return ms < 1000 ? "now" : `${coarse(ms)} ago`;
}

function coarse(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A number with its noun: `1 tag`, `2 tags`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
