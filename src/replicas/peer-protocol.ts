import { type Digest, parseDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { parseNamespace, parseRepository } from "../oci/reference.ts";
import type { RepositoryId } from "../store/layout.ts";

/** What a replica asks another one. */
export type PeerQuestion =
  | { readonly kind: "alive" }
  /** The bytes of a blob from an offset on, of a fill that is under way or as it is stored. */
  | { readonly kind: "blob"; readonly id: RepositoryId; readonly digest: Digest; readonly offset: number }
  /** How much of it can be had by now. */
  | { readonly kind: "progress"; readonly id: RepositoryId; readonly digest: Digest }
  /** What an upstream has answered lately, or is about to. */
  | { readonly kind: "answer"; readonly name: string };

/** The header of a call: the epoch of the one that is asked, what names the call, and the signature of both and the target. */
export const callHeader = "entrepot-call";
/** The header of a refusal: the epoch that calls must name. */
export const epochHeader = "entrepot-epoch";
/** The header of an answer: the signature of what it answers and says. */
export const proofHeader = "entrepot-proof";
/** The header with a blob's whole size, where it is known. */
export const sizeHeader = "entrepot-size";

const root = "/peers/v1/";

/** The request target of a question. */
export function formatQuestion(question: PeerQuestion): string {
  const query = new URLSearchParams();
  if (question.kind === "answer") {
    query.set("name", question.name);
  } else if (question.kind !== "alive") {
    const { id, digest } = question;
    query.set("namespace", id.namespace);
    query.set("repository", id.repository);
    query.set("digest", digest);
    if (question.kind === "blob") query.set("offset", String(question.offset));
  }
  return `${root}${question.kind}?${query.toString()}`;
}

/** The question of a request target; `undefined` for what is none. */
export function parseQuestion(target: string): PeerQuestion | undefined {
  const [path = "", text = ""] = target.split("?", 2);
  const query = new URLSearchParams(text);
  const kind = path.startsWith(root) ? path.slice(root.length) : undefined;
  try {
    switch (kind) {
      case "alive":
        return { kind };
      case "answer":
        return { kind, name: query.get("name") ?? "" };
      case "blob":
      case "progress": {
        const id = {
          namespace: parseNamespace(query.get("namespace") ?? ""),
          repository: parseRepository(query.get("repository") ?? ""),
        };
        const digest = parseDigest(query.get("digest") ?? "");
        if (kind === "progress") return { kind, id, digest };
        const offset = query.get("offset") ?? "";
        return /^\d{1,15}$/.test(offset) ? { kind, id, digest, offset: Number(offset) } : undefined;
      }
      case undefined:
      default:
        return undefined;
    }
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}
