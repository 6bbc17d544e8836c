{{/* The registries of the values. */}}
{{- define "entrepot.namespaces" -}}
{{- $own := list "docker.io" }}
{{- range concat (.Values.registry.upstream.config.contents | default list) (.Values.registry.upstream.credentials | default list) }}
{{- $own = append $own .namespace }}
{{- end }}
{{- uniq $own | toYaml }}
{{- end }}

{{/* Those that nodes are told of. */}}
{{- define "entrepot.registries" -}}
{{- .Values.nodes.registries | default (include "entrepot.namespaces" . | fromYamlArray) | toYaml }}
{{- end }}

{{- define "entrepot.nodesNamespace" -}}
{{- .Values.nodes.namespace | default .Release.Namespace }}
{{- end }}

{{/* The host of an Ingress or a route, where there is one. */}}
{{- define "entrepot.publicHost" -}}
{{- if and .Values.ingress.enabled .Values.ingress.hosts }}
{{- first .Values.ingress.hosts }}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames }}
{{- first .Values.httpRoute.hostnames }}
{{- end }}
{{- end }}

{{/* The URL at which nodes reach the mirror; capitals stand for what only the cluster knows. Empty where there is none. */}}
{{- define "entrepot.nodeUrl" -}}
{{- $service := .Values.service }}
{{- if and .Values.nodes.enabled (eq .Values.nodes.via "hostPort") }}
{{- printf "http://127.0.0.1:%d" (int .Values.nodes.port) }}
{{- else if and .Values.nodes.enabled (eq .Values.nodes.via "address") }}
{{- .Values.nodes.address | trimSuffix "/" }}
{{- else if .Values.nodes.enabled }}
{{- printf "http://NODE:%d" (int $service.nodePort) }}
{{- else if include "entrepot.publicHost" . }}
{{- printf "%s://%s" (empty .Values.ingress.tls | ternary "http" "https") (include "entrepot.publicHost" .) }}
{{- else if eq $service.type "LoadBalancer" }}
{{- printf "http://ADDRESS%s" (eq (int $service.port) 80 | ternary "" (printf ":%d" (int $service.port))) }}
{{- else if eq $service.type "NodePort" }}
{{- printf "http://NODE:%s" ($service.nodePort | default "PORT" | toString) }}
{{- else if .Values.hostPort }}
{{- printf "http://NODE:%d" (int .Values.hostPort) }}
{{- end }}
{{- end }}

{{/* What its capitals stand for, and what it means for nodes. */}}
{{- define "entrepot.nodeUrlIs" -}}
{{- $service := .Values.service }}
{{- $full := include "entrepot.fullname" . }}
{{- $url := include "entrepot.nodeUrl" . }}
Nodes reach it at {{ $url }}.
{{- if and .Values.nodes.enabled (eq .Values.nodes.via "hostPort") }} That is each node itself: nothing is open to the outside.
{{- else if and (not .Values.nodes.enabled) .Values.httpRoute.enabled (not .Values.ingress.enabled) }} With https in its place where the Gateway has TLS.
{{- else if contains "ADDRESS" $url }} ADDRESS is that of the load balancer, which should not be open to the world:
  kubectl get service --namespace {{ .Release.Namespace }} {{ $full }} --output jsonpath='{.status.loadBalancer.ingress[0]}'
{{- else if eq $url "http://NODE:PORT" }} NODE is the address of any node (by a name where it is IPv6), PORT the one that Kubernetes chose:
  kubectl get service --namespace {{ .Release.Namespace }} {{ $full }} --output jsonpath='{.spec.ports[0].nodePort}'
{{- else if and (contains "NODE" $url) (or .Values.nodes.enabled (eq $service.type "NodePort")) }} NODE is the address of any node (by a name where it is IPv6).
{{- else if contains "NODE" $url }} NODE is the address of a node that has a pod (by a name where it is IPv6).
{{- end }}
{{- end }}

{{/* What all commands of a node are told: whose files they are, and where. */}}
{{- define "entrepot.nodeArgs" -}}
- --owner={{ include "entrepot.shorten" (list (printf "%s.%s" .Release.Namespace (include "entrepot.fullname" .)) 63) }}
- --host-root=/host
{{- with .Values.nodes.containerd }}
{{- if .enabled }}
- --containerd-config={{ .config }}
{{- end }}
{{- with .enabled | ternary .hosts "none" }}
- --containerd-hosts={{ . }}
{{- end }}
{{- end }}
{{- if .Values.nodes.crio.enabled }}
- --crio={{ .Values.nodes.crio.folder }}
{{- end }}
- --probe-listen=127.0.0.1:{{ .Values.nodes.probePort }}
{{- end }}

{{/* What a node is told to write. */}}
{{- define "entrepot.nodeMirror" -}}
{{- $nodes := .Values.nodes }}
{{- if eq $nodes.via "hostPort" }}
{{- $service := printf "%s.%s.svc:%d" (include "entrepot.fullname" .) .Release.Namespace (int .Values.service.port) }}
- --relay=127.0.0.1:{{ $nodes.port }}={{ $nodes.target | default $service }}
{{- else if eq $nodes.via "nodePort" }}
{{- if or (eq .Values.service.type "ClusterIP") (not .Values.service.nodePort) }}
{{- fail "nodes.via: nodePort needs service.type NodePort or LoadBalancer, and service.nodePort" }}
{{- end }}
{{- if eq (first .Values.service.ipFamilies | default "IPv4") "IPv6" }}
{{- fail "nodes.via: containerd cannot be told of an IPv6 address; use hostPort, which passes on to one" }}
{{- end }}
- --mirror=http://$(HOST_IP):{{ .Values.service.nodePort }}
{{- else }}
- --mirror={{ required "nodes.address: with via: address, name the URL at which nodes reach the mirror" $nodes.address | trimSuffix "/" }}
{{- end }}
{{- range include "entrepot.registries" . | fromYamlArray }}
- --registry={{ . }}
{{- end }}
{{- end }}

{{/*
The pods of a DaemonSet on nodes, of a mapping with root, component and args. They need
the host's files, and so `privileged` Pod Security, but no privilege: neither capabilities nor a writable root.
*/}}
{{- define "entrepot.nodePod" -}}
{{- $root := .root }}
{{- $nodes := $root.Values.nodes -}}
metadata:
  labels: {{- include "entrepot.podLabels" (list $root .component) | nindent 4 }}
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
  {{- with $root.Values.image.pullSecret }}
  imagePullSecrets: {{- include "entrepot.pullSecrets" . | nindent 4 }}
  {{- end }}
  {{- with $nodes.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  containers:
    - name: node
      image: {{ include "entrepot.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{- toYaml .args | nindent 8 }}
      {{- if eq $nodes.via "nodePort" }}
      env:
        - { name: HOST_IP, valueFrom: { fieldRef: { fieldPath: status.hostIP } } }
      {{- end }}
      securityContext:
        runAsUser: 0
        runAsGroup: 0
        runAsNonRoot: false
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
        seccompProfile: { type: RuntimeDefault }
      livenessProbe:
        httpGet: { host: 127.0.0.1, port: {{ $nodes.probePort }}, path: /healthz }
        timeoutSeconds: 5
      readinessProbe:
        httpGet: { host: 127.0.0.1, port: {{ $nodes.probePort }}, path: /readyz }
        periodSeconds: 5
        timeoutSeconds: 5
      resources: {{- toYaml $nodes.resources | nindent 8 }}
      volumeMounts: {{- include "entrepot.nodeFolders" $root | nindent 8 }}
  {{- with $nodes.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $nodes.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $nodes.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  volumes:
    {{- range include "entrepot.nodeFolders" $root | fromYamlArray }}
    {{- if and (eq .name "containerd") (not $nodes.containerd.enabled) }}
    - { name: containerd, emptyDir: {} }
    {{- else }}
    - { name: {{ .name }}, hostPath: { path: {{ .mountPath | trimPrefix "/host" | quote }}, type: DirectoryOrCreate } }
    {{- end }}
    {{- end }}
{{- end }}

{{/* The folders of the host, below /host. */}}
{{- define "entrepot.nodeFolders" -}}
{{- $containerd := .Values.nodes.containerd }}
{{- $folder := dir $containerd.config -}}
- { name: containerd, mountPath: {{ printf "/host%s" $folder | quote }} }
{{- if and $containerd.enabled $containerd.hosts (not (hasPrefix (printf "%s/" $folder) (printf "%s/" $containerd.hosts))) }}
- { name: containerd-hosts, mountPath: {{ printf "/host%s" $containerd.hosts | quote }} }
{{- end }}
{{- if .Values.nodes.crio.enabled }}
- { name: crio, mountPath: {{ printf "/host%s" .Values.nodes.crio.folder | quote }} }
{{- end }}
{{- end }}
