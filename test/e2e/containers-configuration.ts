import { writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The files that podman and skopeo read. */
export interface ContainersConfiguration {
  /** The `registries.conf`: skopeo takes it as `--registries-conf`, podman as `CONTAINERS_REGISTRIES_CONF`. */
  readonly registries: string;
  /** A `policy.json` that accepts unsigned images. */
  readonly policy: string;
}

/** Writes a `registries.conf` in which each registry has the mirror's path of its name for a mirror. */
export async function writeContainersConfiguration(
  directory: string,
  mirrorHost: string,
  namespaces: readonly string[],
): Promise<ContainersConfiguration> {
  const registries = join(directory, "registries.conf");
  await writeFile(
    registries,
    namespaces
      .map((namespace) =>
        [
          "[[registry]]",
          `prefix = "${namespace}"`,
          `location = "${namespace}"`,
          "[[registry.mirror]]",
          `location = "${mirrorHost}/${namespace}"`,
          "insecure = true",
          "",
        ].join("\n"),
      )
      .join("\n"),
  );
  return { registries, policy: await writePolicy(directory) };
}

/** Writes a `policy.json` that accepts unsigned images. */
export async function writePolicy(directory: string): Promise<string> {
  const policy = join(directory, "policy.json");
  await writeFile(policy, JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
  return policy;
}
