/** What comes again within this time was meant once. */
const sameMs = 1_000;

/**
 * Passes on one signal for each time that somebody asks. What is asked once may come several times within milliseconds:
 * a terminal and systemd signal the whole group of processes, and npm passes on what it gets to the program that is in
 * that group as well.
 *
 * @param now Milliseconds of a clock that only goes forward.
 */
export function onceAsked(
  listener: (signal: string) => void,
  now: () => number = () => performance.now(),
): (signal: string) => void {
  let heardAt = -Infinity;
  return (signal) => {
    if (now() - heardAt < sameMs) return;
    heardAt = now();
    listener(signal);
  };
}
