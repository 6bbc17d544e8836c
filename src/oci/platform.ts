import { OciError } from "./errors.ts";
import type { ManifestEntry } from "./manifest.ts";

/** What an image runs on (image-spec, image-index.md, `platform`), in lower case. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** The processor's; `undefined` is the one that is usual for the architecture. */
  readonly variant: string | undefined;
}

const platformGrammar = /^([a-z0-9_.-]+)\/([a-z0-9_.-]+)(?:\/([a-z0-9_.-]+))?$/;
/** What is meant where no variant is named. */
const usualVariants: ReadonlyMap<string, string> = new Map([
  ["amd64", "v1"],
  ["arm", "v7"],
  ["arm64", "v8"],
]);
const numberedVariant = /^v(\d+)$/;
/** Where BuildKit says which manifest an attestation is about. */
const attestedField = "vnd.docker.reference.digest";

/**
 * Reads a platform: `os/architecture[/variant]`.
 *
 * @throws {OciError} NAME_INVALID
 */
export function parsePlatform(text: string): Platform {
  const [, os, architecture, variant] = platformGrammar.exec(text.toLowerCase()) ?? [];
  if (os === undefined || architecture === undefined) {
    throw new OciError("NAME_INVALID", "a platform looks like linux/amd64 or linux/arm/v7");
  }
  return { os, architecture, variant };
}

/** Writes a platform, which `parsePlatform` reads as this one. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/**
 * The entries of an index that are of use on these platforms, in the index's order; without platforms all of them.
 *
 * For each platform that is the one of its own variant, or else of the highest one below it, which its processor runs
 * too; several where they differ in something else (Windows' `os.version`). With them come the attestations about them.
 * Entries that name no platform are for nobody in particular, and left out.
 */
export function chooseEntries(
  entries: readonly ManifestEntry[],
  platforms: readonly Platform[],
): readonly ManifestEntry[] {
  if (platforms.length === 0) return entries;
  const chosen = new Set(platforms.flatMap((platform) => findBest(entries, platform)));
  const digests = new Set<string | undefined>([...chosen].map((entry) => entry.digest));
  return entries.filter((entry) => chosen.has(entry) || digests.has(entry.annotations?.[attestedField]));
}

function findBest(entries: readonly ManifestEntry[], platform: Platform): ManifestEntry[] {
  let best = -Infinity;
  let found: ManifestEntry[] = [];
  for (const entry of entries) {
    const fit = fitOf(readPlatform(entry.platform), platform);
    if (fit === undefined || fit < best) continue;
    if (fit > best) found = [];
    best = fit;
    found.push(entry);
  }
  return found;
}

/** How well what is made for one platform runs on another: the more, the better; `undefined` not at all. */
function fitOf(made: Platform | undefined, wanted: Platform): number | undefined {
  if (made?.os !== wanted.os || made.architecture !== wanted.architecture) return undefined;
  const [own, other] = [variantOf(made), variantOf(wanted)];
  if (own === other) return Infinity;
  // What is made for no variant in particular runs on all of them.
  if (own === undefined) return 0;
  const [level, limit] = [levelOf(own), levelOf(other)];
  return level < limit ? level : undefined;
}

function variantOf({ architecture, variant }: Platform): string | undefined {
  return variant ?? usualVariants.get(architecture);
}

/** A variant's place among those of its architecture; NaN where its name does not say. */
function levelOf(variant: string | undefined): number {
  return Number(numberedVariant.exec(variant ?? "")?.[1] ?? NaN);
}

/** Reads what an index says; `undefined` where that is no platform. */
export function readPlatform(value: unknown): Platform | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { os, architecture, variant } = value as Record<string, unknown>;
  if (typeof os !== "string" || typeof architecture !== "string") return undefined;
  return {
    os: os.toLowerCase(),
    architecture: architecture.toLowerCase(),
    variant: typeof variant === "string" && variant !== "" ? variant.toLowerCase() : undefined,
  };
}
