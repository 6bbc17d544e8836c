import type { ImageReference } from "../oci/image-reference.ts";
import type { Platform } from "../oci/platform.ts";
import type { AdoptOptions } from "./adoption.ts";
import type { Step } from "./job.ts";

/** What a job of each kind can be told. What is `undefined` is as the configuration has it. */
export interface JobOptions {
  readonly adopt: AdoptOptions;
  readonly collect: { readonly dryRun: boolean };
  readonly evict: { readonly dryRun: boolean };
  readonly retain: { readonly dryRun: boolean };
  /** A dry run changes nothing, whatever `repair` says. */
  readonly verify: {
    readonly dryRun: boolean;
    readonly repair: boolean;
    readonly bytesPerSecond: number | undefined;
  };
  readonly warm: {
    readonly images: readonly ImageReference[];
    readonly platforms: readonly Platform[] | undefined;
    readonly parallel: number | undefined;
  };
}

/** What each kind of job does; what a purge does is known here. */
export type JobSteps = { readonly [Kind in keyof JobOptions]: (options: JobOptions[Kind]) => readonly Step[] };

/** A job that somebody asks for; targets, images and platforms as people write them. */
export type JobRequest =
  | { readonly kind: "collect" | "evict" | "retain"; readonly dryRun?: boolean | undefined }
  | { readonly kind: "purge"; readonly target: string }
  | {
      readonly kind: "verify";
      readonly dryRun?: boolean | undefined;
      readonly repair?: boolean | undefined;
      readonly bytesPerSecond?: number | undefined;
    }
  | {
      readonly kind: "warm";
      readonly images: readonly string[];
      readonly platforms?: readonly string[] | undefined;
      readonly parallel?: number | undefined;
    };

/** To take over another program's cache, which is done where its folder is: nobody can ask for it over HTTP. */
export interface AdoptRequest extends AdoptOptions {
  readonly kind: "adopt";
}

/** Whether a job only says what it would do; verifying does nothing else unless it is to repair. */
export function isDryRun(request: JobRequest | AdoptRequest): boolean {
  if (request.kind === "warm" || request.kind === "purge") return false;
  return request.dryRun === true || (request.kind === "verify" && request.repair !== true);
}
