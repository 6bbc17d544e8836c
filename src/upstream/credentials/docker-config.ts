import type { Clock } from "../../concurrency/clock.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Credentials } from "../credentials.ts";
import { askCredentialHelper } from "./credential-helper.ts";
import {
  type DockerAuths,
  findDockerAuth,
  findDockerHelper,
  type HelperQuestion,
  parseDockerAuths,
} from "./docker-auths.ts";
import { RenewingSource } from "./renewing.ts";
import type { CredentialSource, ProblemListener } from "./source.ts";
import { WatchedFile } from "./watched-file.ts";

/** Which Docker configuration is used, and for whom. */
export interface DockerConfigOptions {
  /** A Docker `config.json`, or an `auth.json` of podman. */
  readonly path: string;
  /** The registry that is asked, with its port where it has one: what the file's keys are compared with. */
  readonly host: string;
  readonly clock: Clock;
  /** The environment of helper programs; without it, our own. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** How long a helper may take. */
  readonly helperTimeoutMs?: number | undefined;
  readonly onProblem?: ProblemListener | undefined;
}

const maxBytes = 1024 * 1024;
/** Helpers do not say how long their answers are good for. */
const helperRenewalMs = 5 * 60_000;
const helperLifetimeMs = 15 * 60_000;

/**
 * A source that reads a Docker configuration, again when it changes. For a repository it takes an entry of `auths`
 * whose key names a part of the registry (`registry.example.com/team`); else what the registry's helper
 * (`credHelpers`, `credsStore`) says; else the registry's own entry.
 *
 * A helper's answer is used for five minutes, and for ten more while the helper fails.
 */
export class DockerConfigSource implements CredentialSource {
  readonly #options: DockerConfigOptions;
  readonly #file: WatchedFile<DockerAuths>;
  #current: { readonly auths: DockerAuths; readonly helper: CredentialSource | undefined } | undefined;

  constructor(options: DockerConfigOptions) {
    this.#options = options;
    const { path, clock, onProblem } = options;
    const name = `docker config ${path}`;
    this.#file = new WatchedFile({
      name,
      path,
      maxBytes,
      clock,
      onProblem,
      parse: (text) => parseDockerAuths(name, text),
    });
  }

  async get(repository: Repository, signal: AbortSignal): Promise<Credentials | undefined> {
    const auths = await this.#file.read(signal);
    const helper = this.#helperOf(auths);
    const auth = findDockerAuth(auths, this.#options.host, repository);
    if (auth !== undefined && auth.path !== "") return auth.credentials;
    return (await helper?.get(repository, signal)) ?? auth?.credentials;
  }

  refused(credentials: Credentials): void {
    this.#file.expire();
    this.#current?.helper?.refused(credentials);
  }

  close(): void {
    this.#current?.helper?.close();
  }

  #helperOf(auths: DockerAuths): CredentialSource | undefined {
    if (this.#current?.auths !== auths) {
      // The helper before it is not closed: somebody may be waiting for it still.
      const question = findDockerHelper(auths, this.#options.host);
      this.#current = { auths, helper: question && this.#createHelper(question) };
    }
    return this.#current.helper;
  }

  #createHelper({ helper, serverUrl }: HelperQuestion): CredentialSource {
    const { clock, env, helperTimeoutMs, onProblem } = this.#options;
    return new RenewingSource({
      name: `credential helper docker-credential-${helper}`,
      clock,
      timeoutMs: helperTimeoutMs,
      onProblem,
      async fetch(signal) {
        const credentials = await askCredentialHelper(helper, serverUrl, { env }, signal);
        const now = clock.now();
        return { credentials, renewAt: now + helperRenewalMs, expiresAt: now + helperLifetimeMs };
      },
    });
  }
}
