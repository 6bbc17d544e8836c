import { LRUCache } from "lru-cache";
import { OciError } from "../oci/errors.ts";
import {
  canonicalNamespace,
  dockerHub,
  type Namespace,
  parseNamespace,
  parseRepository,
  type Repository,
} from "../oci/reference.ts";
import type { Route } from "../oci/route.ts";
import { isPublicName } from "../upstream/guard.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { PushRegistry, Registry } from "./registry.ts";

const unlistedInMemory = 256;

/** What decides which upstream a request means. */
export interface NamespaceRules {
  /** Whether a namespace is configured. */
  readonly isListed: (namespace: Namespace) => boolean;
  /** The namespace that a `Host` header (lower case, without port) stands for. */
  readonly ofServerName: (host: string) => Namespace | undefined;
  /** The namespace of a request that names none. */
  readonly defaultNamespace: Namespace;
  /** The namespace of `?ns=` with no value. */
  readonly emptyNamespace: Namespace;
}

/**
 * Which repository of which upstream a request means. In this order: `?ns=`, the `Host` header, the first segment of
 * the path when it is a configured namespace or looks like a registry's host, the default.
 *
 * The segment that names the upstream is taken off once, with or before `/v2` and also when `ns` or `Host` say the
 * same, and so is a `v2` behind it, which `override_path` settings produce. A prefix before `/v2` that names no
 * upstream is a reverse proxy's, and is ignored. `library/` is added to Docker Hub's names of one segment.
 *
 * @throws {OciError} NAME_INVALID
 */
export function selectRepository(
  route: Pick<Route, "prefix" | "ns"> & { readonly name: Repository },
  host: string | undefined,
  rules: NamespaceRules,
): RepositoryId {
  const name = route.name.split("/");
  const named = prefixNamespace(route.prefix, rules);
  const explicit = explicitNamespace(route.ns, host, rules);
  if (explicit !== undefined) {
    if (named?.namespace === explicit) return identify(explicit, [...named.rest, ...name]);
    return identify(explicit, namedBy(name, rules) === explicit ? behind(name) : name);
  }
  if (named !== undefined) return identify(named.namespace, [...named.rest, ...name]);
  const first = namedBy(name, rules);
  return first === undefined ? identify(rules.defaultNamespace, name) : identify(first, behind(name));
}

/** A namespace that can be pulled from, and what may be said of it in metrics. */
export interface OpenNamespace extends RepositoryId {
  readonly registry: Registry;
  /** The namespace where it is configured, `other` where not: so that clients cannot make up labels. */
  readonly label: string;
}

/** A namespace that can be pushed to. */
export interface HostedNamespace {
  readonly namespace: Namespace;
  readonly push: PushRegistry;
  /** Whether the request has named it besides the repositories' names. */
  readonly isNamed: boolean;
}

/** How `Namespaces` gets at its registries. */
export interface NamespacesOptions {
  readonly rules: Omit<NamespaceRules, "isListed">;
  readonly listed: ReadonlyMap<Namespace, Registry>;
  /** Whether a public name that is not configured may be mirrored. */
  readonly allowsUnlisted: (namespace: Namespace) => boolean;
  /** Makes the mirror of a namespace that is not configured. It holds nothing that would have to be closed. */
  readonly openUnlisted: (namespace: Namespace) => Registry;
}

/** All registries behind this mirror: the configured ones, and a bounded number of others, made when asked for. */
export class Namespaces {
  /** What decides which registry a name means. */
  readonly rules: NamespaceRules;
  readonly #options: NamespacesOptions;
  readonly #unlisted = new LRUCache<Namespace, Registry>({ max: unlistedInMemory });

  constructor(options: NamespacesOptions) {
    this.#options = options;
    this.rules = { ...options.rules, isListed: (namespace) => options.listed.has(namespace) };
  }

  /** What can be pushed to; of one namespace alone where a request that has no repository names one. */
  hosted(route: Pick<Route, "prefix" | "ns">, host: string | undefined): readonly HostedNamespace[] {
    const named = explicitNamespace(route.ns, host, this.rules) ?? prefixNamespace(route.prefix, this.rules)?.namespace;
    return [...this.#options.listed].flatMap(([namespace, { push }]) =>
      push === undefined || (named !== undefined && named !== namespace)
        ? []
        : [{ namespace, push, isNamed: named !== undefined }],
    );
  }

  /**
   * The registry and repository that a request means.
   *
   * @throws {OciError} NAME_INVALID; NAME_UNKNOWN for a namespace that is not mirrored.
   */
  open(route: Pick<Route, "prefix" | "ns"> & { readonly name: Repository }, host: string | undefined): OpenNamespace {
    const id = selectRepository(route, host, this.rules);
    const listed = this.#options.listed.get(id.namespace);
    if (listed !== undefined) return { ...id, registry: listed, label: id.namespace };
    // Not configured, it must be a public name on port 443; what its addresses are is checked at every connection.
    if (!isPublicName(id.namespace) || !this.#options.allowsUnlisted(id.namespace)) {
      throw new OciError(
        "NAME_UNKNOWN",
        `${id.namespace} is not mirrored here; add it to the upstreams to change that`,
      );
    }
    let registry = this.#unlisted.get(id.namespace);
    if (registry === undefined) {
      registry = this.#options.openUnlisted(id.namespace);
      this.#unlisted.set(id.namespace, registry);
    }
    return { ...id, registry, label: "other" };
  }
}

function explicitNamespace(
  ns: string | undefined,
  host: string | undefined,
  rules: NamespaceRules,
): Namespace | undefined {
  if (ns === "") return rules.emptyNamespace;
  if (ns !== undefined) return canonicalNamespace(parseNamespace(ns));
  return host === undefined ? undefined : rules.ofServerName(hostName(host));
}

/** The namespace that a segment names, if it names one. */
function segmentNamespace(segment: string, rules: NamespaceRules): Namespace | undefined {
  const namespace = canonicalNamespace(segment as Namespace);
  if (!rules.isListed(namespace) && !segment.includes(".") && segment !== "localhost") return undefined;
  return namespace;
}

/** The namespace that a name begins with; a name of one segment is a repository. */
function namedBy(name: readonly string[], rules: NamespaceRules): Namespace | undefined {
  const [first] = name;
  return first === undefined || name.length < 2 ? undefined : segmentNamespace(first, rules);
}

function prefixNamespace(
  prefix: readonly string[],
  rules: NamespaceRules,
): { readonly namespace: Namespace; readonly rest: readonly string[] } | undefined {
  for (const [index, segment] of prefix.entries()) {
    const namespace = segmentNamespace(segment, rules);
    if (namespace !== undefined) return { namespace, rest: prefix.slice(index + 1) };
  }
  return undefined;
}

/** What follows the segment that names the upstream, without the `v2` that may stand between. */
function behind(name: readonly string[]): readonly string[] {
  return name.slice(name.length > 2 && name[1] === "v2" ? 2 : 1);
}

function identify(namespace: Namespace, segments: readonly string[]): RepositoryId {
  const single = namespace === dockerHub && segments.length === 1;
  return { namespace, repository: parseRepository(single ? `library/${segments[0]}` : segments.join("/")) };
}

/** A `Host` header's name, without the port, in lower case. */
function hostName(host: string): string {
  return host.replace(/:\d*$/, "").toLowerCase();
}
