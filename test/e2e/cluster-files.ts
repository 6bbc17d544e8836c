/* What the programs of a cluster read: each is the content of one file. */

/** Who the clients of the API are, and where it is. */
export function kubeconfig(server: string, authority: string, token: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster: { server, "certificate-authority": authority } }],
    users: [{ name: "admin", user: { token } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "admin" } }],
    "current-context": "test",
  });
}

/** The kubelet's: it has control groups for containers alone, and takes nothing away because of a full disk. */
export function kubeletConfiguration(dns: string, socket: string, logs: string): string {
  return JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    failCgroupV1: false,
    cgroupDriver: "cgroupfs",
    cgroupsPerQOS: false,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    containerRuntimeEndpoint: `unix://${socket}`,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: "AlwaysAllow" },
    evictionHard: { "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
    imageGCHighThresholdPercent: 100,
    localStorageCapacityIsolation: false,
    clusterDNS: [dns],
    clusterDomain: "cluster.local",
    podLogsDir: logs,
  });
}

/** The runtime's, with what a distribution's own has: mirrors are told of in `/etc/containerd/certs.d`. */
export function containerdConfiguration(root: string, socket: string, sandbox: string): string {
  return `version = 3
root = "${root}"
state = "/run/containerd"
[grpc]
  address = "${socket}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${sandbox}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
`;
}

/** Pods have a network of their own, and ports of the node where they ask for them. */
export function cniConfiguration(): string {
  const ipam = { type: "host-local", subnet: "10.88.0.0/16", routes: [{ dst: "0.0.0.0/0" }] };
  const plugins = [
    { type: "ptp", ipMasq: true, ipam },
    { type: "portmap", capabilities: { portMappings: true } },
  ];
  return JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins });
}

/** Names of Services and pods, and of nothing else. */
export function corefile(file: string): string {
  return `.:53 {\n  errors\n  kubernetes cluster.local {\n    kubeconfig ${file}\n  }\n}\n`;
}
