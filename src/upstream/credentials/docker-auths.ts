import type { Credentials } from "../credentials.ts";
import { CredentialError, parseJson } from "./source.ts";

/** What a Docker `config.json` says about credentials. */
export interface DockerAuths {
  /** The keys of `auths` with what they hold; keys without credentials (a helper has them) are left out. */
  readonly entries: readonly DockerAuth[];
  /** The helper for everything that has none of its own (`credsStore`). */
  readonly store: string | undefined;
  /** Helpers by registry (`credHelpers`). */
  readonly stores: ReadonlyMap<string, string>;
}

/** One key of `auths`. */
export interface DockerAuth {
  /** `host[:port]`, in lower case. */
  readonly host: string;
  /** The repositories below which the key is for; empty for all. */
  readonly path: string;
  /** Whether the key is a URL, as Docker Hub's is. */
  readonly isUrl: boolean;
  readonly credentials: Credentials;
}

/** The helper that is asked about a host, and by what name of it. */
export interface HelperQuestion {
  readonly helper: string;
  readonly serverUrl: string;
}

/** The key that `docker login` writes for Docker Hub, and that helpers know it by. */
const dockerHubKey = "https://index.docker.io/v1/";
const dockerHubHosts: readonly string[] = ["index.docker.io", "docker.io", "registry-1.docker.io"];

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads a Docker `config.json`, or an `auth.json` of podman.
 *
 * @param name The source's name in messages.
 * @throws {CredentialError} It is no such file. Messages quote nothing but keys.
 */
export function parseDockerAuths(name: string, text: string): DockerAuths {
  const config = parseJson(name, text, "it is not valid JSON");
  const { auths, credsStore, credHelpers } = fieldsOf(name, "the file", config);
  const entries = Object.entries(fieldsOf(name, "auths", auths ?? {})).flatMap(([key, value]) => {
    const credentials = readEntry(name, key, value);
    return credentials === undefined ? [] : [{ ...splitKey(key), credentials }];
  });
  const stores = Object.entries(fieldsOf(name, "credHelpers", credHelpers ?? {})).map(
    ([key, value]): [string, string] => [splitKey(key).host, textOf(name, `credHelpers of ${key}`, value) ?? ""],
  );
  const store = textOf(name, "credsStore", credsStore);
  return { entries, store: store === "" ? undefined : store, stores: new Map(stores) };
}

/**
 * The entry for a repository: the one with the longest path. A key that is a bare host comes before a URL, but not for
 * Docker Hub, which is found under each of its names.
 *
 * @param host The registry that is asked, with its port where it has one.
 */
export function findDockerAuth(auths: DockerAuths, host: string, repository: string): DockerAuth | undefined {
  const names = namesOf(host);
  const rank = (auth: DockerAuth): number[] => [
    -auth.path.length,
    names.indexOf(auth.host),
    // For Docker Hub, it is the URL that `docker login` writes.
    Number(auth.isUrl !== (names === dockerHubHosts)),
  ];
  return auths.entries
    .filter((auth) => names.includes(auth.host) && (auth.path === "" || `${repository}/`.startsWith(`${auth.path}/`)))
    .toSorted((a, b) => rank(a).reduce((order, value, index) => order || value - (rank(b)[index] ?? 0), 0))[0];
}

/** The helper for a registry; `undefined`: there is none. */
export function findDockerHelper(auths: DockerAuths, host: string): HelperQuestion | undefined {
  const names = namesOf(host);
  const own = names.find((alias) => auths.stores.has(alias));
  const helper = own === undefined ? auths.store : auths.stores.get(own);
  // A registry that is mapped to no helper is kept out of the one for all.
  if (helper === undefined || helper === "") return undefined;
  return { helper, serverUrl: names === dockerHubHosts ? dockerHubKey : host.toLowerCase() };
}

function namesOf(host: string): readonly string[] {
  const lower = host.toLowerCase();
  return dockerHubHosts.includes(lower) ? dockerHubHosts : [lower];
}

function splitKey(key: string): { host: string; path: string; isUrl: boolean } {
  const isUrl = /^https?:\/\//i.test(key);
  const bare = key.replace(/^https?:\/\//i, "").replace(/\/+$/, "");
  const slash = bare.indexOf("/");
  const path = slash < 0 ? "" : bare.slice(slash + 1);
  return {
    host: (slash < 0 ? bare : bare.slice(0, slash)).toLowerCase(),
    // A URL's path is the API's version and no repository.
    path: isUrl || path === "v1" || path === "v2" ? "" : path,
    isUrl,
  };
}

/** `undefined`: the entry holds nothing of use. A `registrytoken` is none: it is no credential for a token server. */
function readEntry(name: string, key: string, value: unknown): Credentials | undefined {
  const where = `auths of ${key}`;
  const entry = fieldsOf(name, where, value ?? {});
  const identityToken = textOf(name, where, entry.identitytoken);
  if (identityToken !== undefined && identityToken !== "") return { username: "<token>", password: identityToken };
  const auth = textOf(name, where, entry.auth) ?? "";
  if (auth !== "") return decodeAuth(name, where, auth);
  const username = textOf(name, where, entry.username) ?? "";
  const password = textOf(name, where, entry.password) ?? "";
  return username === "" && password === "" ? undefined : { username, password };
}

/** Reads base64 of `username:password`. */
function decodeAuth(name: string, where: string, auth: string): Credentials | undefined {
  const isBase64 = /^[A-Za-z0-9+/_-]+={0,2}$/.test(auth);
  const text = Buffer.from(auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (!isBase64 || colon < 0) {
    throw new CredentialError(name, `${where}: the value of auth is not base64 of a user name, a colon and a password`);
  }
  // Old versions of Docker filled up with zero bytes.
  // oxlint-disable-next-line no-control-regex -- zero bytes are what is taken away
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/^\x00+|\x00+$/g, "") };
}

function fieldsOf(name: string, where: string, value: unknown): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CredentialError(name, `${where}: expected a mapping`);
  }
  return value as Fields;
}

function textOf(name: string, where: string, value: unknown): string | undefined {
  if (value !== undefined && value !== null && typeof value !== "string") {
    throw new CredentialError(name, `${where}: expected text`);
  }
  return value ?? undefined;
}
