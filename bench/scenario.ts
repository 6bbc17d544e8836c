import type { ContentTree, Image } from "./content.ts";
import type { Section } from "./report.ts";
import type { Place, RegistryName } from "./servers.ts";
import type { Settings } from "./settings.ts";
import type { UpstreamRegistry } from "./upstream.ts";

/** What a scenario measures with. */
export interface Bench {
  readonly settings: Settings;
  /** The other pull-through caches that are there to be compared with. */
  readonly registries: readonly RegistryName[];
  readonly upstream: UpstreamRegistry;
  readonly content: ContentTree;
  /** A small image; pulling it once makes a fresh server ready for what is measured. */
  readonly warmUp: Image;
  /** Where servers are started: on the warm-up image and those given. */
  readonly place: (images?: readonly Image[]) => Place;
  /** Tells what is going on. */
  readonly progress: (text: string) => void;
}

/** One scenario. It starts its servers and ends them. */
export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** It takes so long that it runs only where it is asked for by name. */
  readonly onRequest?: true;
  readonly run: (bench: Bench) => Promise<Omit<Section, "scenario" | "title">>;
}
