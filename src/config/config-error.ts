/** A single value that cannot be used. The message says what is expected, and repeats no secret. */
export class ValueError extends Error {
  override readonly name = "ValueError";
}

/**
 * The configuration cannot be used. `problems` has one line for each thing to put right, with its file, line and key,
 * flag or environment variable; the lines hold no secret.
 */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}
