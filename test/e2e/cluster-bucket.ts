import type { Cluster } from "./cluster.ts";
import { freePort } from "./programs.ts";
import type { Release, Values } from "./release.ts";
import { startRoundRobin } from "./round-robin.ts";
import { startSeaweedfs } from "./seaweedfs.ts";

/** A real S3 server that pods reach. */
export interface ClusterBucket extends AsyncDisposable {
  /** Makes the Secrets that a release on the bucket must find; gives what it has at `registry` in its values. */
  prepare(release: Release): Promise<Values>;
}

/** What `prepare` makes in a release's namespace, which is not the chart's. */
export const bucketSecrets: readonly string[] = ["secret/keys", "secret/replicas"];

/** Starts it beside a cluster. */
export async function startClusterBucket(cluster: Cluster, directory: string): Promise<ClusterBucket> {
  await using stack = new AsyncDisposableStack();
  const { endpoint, options } = stack.use(await startSeaweedfs(directory));
  const backends = [new URL(endpoint).host];
  const door = stack.use(await startRoundRobin(await freePort(), backends, cluster.machine.outside));
  const all = stack.move();
  return {
    async prepare({ namespace }) {
      const secret = (name: string, stringData: object): object => {
        return { apiVersion: "v1", kind: "Secret", metadata: { name, namespace }, stringData };
      };
      const { accessKeyId, secretAccessKey } = options.credentials;
      await cluster.create(
        secret("keys", { access_key: accessKeyId, secret_key: secretAccessKey }),
        secret("replicas", { secret: "an-example-of-a-secret-that-replicas-share" }),
      );
      const server = { bucket: options.bucket, host: `http://${door.host}`, region: "us-east-1", prefix: namespace };
      const s3 = { ...server, auth_secret: { name_override: "keys" } };
      return { storage: { mode: "s3", filesystem: { size: "1Gi" }, s3 }, replicas: { secret: "replicas" } };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
