import { ValueError } from "./config-error.ts";
import type { Environment } from "./interpolation.ts";
import type { Problem } from "./problems.ts";

/** The proxies that the environment names (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`). */
export interface ProxyEnvironment {
  /** The URL of the proxy for http, and for https where `https` is `undefined`. */
  readonly http: string | undefined;
  /** The URL of the proxy for https. */
  readonly https: string | undefined;
  /** Hosts that are reached directly, as they stand in the variable. */
  readonly noProxy: string | undefined;
}

const expected = "expected the URL of an HTTP proxy, such as http://proxy.example.com:3128";

/**
 * Reads the URL of a proxy, without a path. A user and a password may stand in it, percent-encoded.
 *
 * @throws {ValueError} Its message does not repeat the URL, which may hold a password.
 */
export function parseProxy(text: string): string {
  const url = URL.parse(text);
  if (url === null || !text.includes("://")) {
    throw new ValueError(expected);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new ValueError(`${expected}; there is no support for ${url.protocol}// proxies`);
  }
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") {
    throw new ValueError(`${expected}, without a path; percent-encode the user and the password`);
  }
  const { username, password } = url;
  try {
    decodeURIComponent(`${username}${password}`);
  } catch {
    throw new ValueError(`${expected}; percent-encode the user and the password`);
  }
  const secret = password === "" ? "" : `:${password}`;
  return `${url.protocol}//${username === "" && secret === "" ? "" : `${username}${secret}@`}${url.host}`;
}

/**
 * Reads the setting `proxy`: a proxy's URL, or `none`.
 *
 * @throws {ValueError} As `parseProxy`.
 */
export function parseProxySetting(text: string): string {
  if (text === "none") {
    return text;
  }
  try {
    return parseProxy(text);
  } catch (error) {
    throw error instanceof ValueError ? new ValueError(`${error.message}; or none for a direct connection`) : error;
  }
}

/** The same proxy, with what hides its user and password. */
export function hideProxy(proxy: string, hidden: string): string {
  return proxy.replace(/\/\/.*@/, `//${hidden}@`);
}

/** No proxy at all. */
export const noProxies: ProxyEnvironment = { http: undefined, https: undefined, noProxy: undefined };

/**
 * Reads the variables that many programs share. In capitals they beat those in small letters. A proxy without a scheme
 * is an http one.
 */
export function readProxyEnvironment(env: Environment): {
  readonly proxies: ProxyEnvironment;
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  const find = (name: string): string | undefined => [name, name.toLowerCase()].find((candidate) => env[candidate]);
  const read = (name: string): string | undefined => {
    const variable = find(name);
    const value = env[variable ?? ""];
    if (variable === undefined || value === undefined) {
      return undefined;
    }
    try {
      return parseProxy(value.includes("://") ? value : `http://${value}`);
    } catch (error) {
      if (!(error instanceof ValueError)) {
        throw error;
      }
      problems.push({ path: [variable], message: error.message });
      return undefined;
    }
  };
  const proxies = { http: read("HTTP_PROXY"), https: read("HTTPS_PROXY"), noProxy: env[find("NO_PROXY") ?? ""] };
  return { proxies, problems };
}
