{{/* The program's configuration, as YAML: what the values come to, and `config` over it. */}}
{{- define "entrepot.config" -}}
{{- include "entrepot.checkConfig" . }}
{{- $registry := .Values.registry }}
{{- $config := dict
  "admin_listen" ":9090"
  "admin_token_file" (printf "/run/secrets/entrepot/admin/%s" (include "entrepot.adminKey" .))
  "default_namespace" $registry.upstream.default_namespace
  "default_upstream_namespace" $registry.upstream.default_namespace
  "check_cache_digest" $registry.check_cache_digest
  "storage" (include "entrepot.config.storage" . | fromYaml) }}
{{- if $registry.upstream.config.deploy }}
{{- $_ := set $config "upstreams" (include "entrepot.config.upstreams" . | fromYamlArray) }}
{{- end }}
{{- if include "entrepot.hasReplicas" . }}
{{- /* A port of five digits can be no part of an IPv6 address, as which the program would refuse it behind one. */}}
{{- $secretFile := printf "/run/secrets/entrepot/replicas/%s" $registry.replicas.key }}
{{- $_ := set $config "replicas" (dict "listen" ":15001" "advertise" "${POD_IP}" "secret_file" $secretFile) }}
{{- end }}
{{- mergeOverwrite $config (deepCopy .Values.config) | toYaml }}
{{- end }}

{{- define "entrepot.adminKey" -}}
{{- .Values.registry.admin.token_secret | empty | ternary "token" .Values.registry.admin.key }}
{{- end }}

{{/* Where pods act as one. */}}
{{- define "entrepot.hasReplicas" -}}
{{- $replicas := .Values.registry.replicas }}
{{- if and (eq .Values.registry.storage.mode "s3") $replicas.enabled $replicas.secret }}true{{ end }}
{{- end }}

{{- define "entrepot.config.storage" -}}
{{- $storage := .Values.registry.storage }}
type: {{ $storage.mode }}
root: {{ printf "%s/data" (trimSuffix "/" $storage.filesystem.path) | quote }}
{{- if eq (include "entrepot.volume" .) "emptyDir" }}
{{- /* Shares would be of the node's disk, and the kubelet ends a pod that takes more than the limit. */}}
{{- $mebibytes := mul (regexFind "^[0-9]+" $storage.filesystem.size | atoi) (get (dict "Mi" 1 "Gi" 1024 "Ti" 1048576) (regexFind "[A-Z]i$" $storage.filesystem.size)) }}
max_size: {{ div (mul $mebibytes 95) 100 }}MiB
min_free: 15%
{{- end }}
{{- if eq $storage.mode "s3" }}
{{- with $storage.s3 }}
s3:
  bucket: {{ .bucket | quote }}
  {{- with .host }}
  endpoint: {{ . | quote }}
  {{- end }}
  {{- with .region }}
  region: {{ . | quote }}
  {{- end }}
  {{- with .prefix }}
  prefix: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The upstreams, each with its account; one that has an account only is there, too. */}}
{{- define "entrepot.config.upstreams" -}}
{{- $accounts := dict }}
{{- range .Values.registry.upstream.credentials }}
{{- if hasKey $accounts .namespace }}
{{- fail (printf "registry.upstream.credentials: %s has two accounts" .namespace) }}
{{- end }}
{{- $folder := printf "/run/secrets/entrepot/upstreams/%s" .secret }}
{{- if .username }}
{{- $_ := set $accounts .namespace (dict "username" .username "password_file" (printf "%s/%s" $folder (.key | default "password"))) }}
{{- else }}
{{- $_ := set $accounts .namespace (dict "docker_config" (printf "%s/%s" $folder (.key | default ".dockerconfigjson"))) }}
{{- end }}
{{- end }}
{{- $upstreams := list }}
{{- range .Values.registry.upstream.config.contents }}
{{- $upstreams = append $upstreams (merge (deepCopy .) (get $accounts .namespace | default dict)) }}
{{- $_ := unset $accounts .namespace }}
{{- end }}
{{- range $namespace, $account := $accounts }}
{{- $host := eq $namespace "docker.io" | ternary "registry-1.docker.io" $namespace }}
{{- $upstreams = append $upstreams (merge (dict "namespace" $namespace "host" $host) $account) }}
{{- end }}
{{- $upstreams | toYaml }}
{{- end }}

{{/* What one value alone cannot tell. */}}
{{- define "entrepot.checkConfig" -}}
{{- $registry := .Values.registry }}
{{- include "entrepot.refuseSecrets" (list "config" .Values.config) }}
{{- include "entrepot.refuseSecrets" (list "registry.upstream.config.contents" $registry.upstream.config.contents) }}
{{- with $registry.upstream }}
{{- if and .config.deploy .config.name_override }}
{{- fail "registry.upstream.config.name_override: names the Secret that has the upstreams with deploy: false alone" }}
{{- end }}
{{- if not .config.deploy }}
{{- $_ := required "registry.upstream.config.name_override: with deploy: false, name the Secret that has upstream.yaml" .config.name_override }}
{{- if or .config.contents .credentials }}
{{- fail "registry.upstream: with config.deploy: false, the upstreams and their accounts are those of the Secret; contents and credentials must be empty" }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq $registry.storage.mode "s3" }}
{{- $_ := required "registry.storage.s3.bucket: name the bucket" $registry.storage.s3.bucket }}
{{- else if (.Values.config.storage).s3 }}
{{- fail "config.storage.s3: is used with registry.storage.mode: s3 alone" }}
{{- end }}
{{- if eq (include "entrepot.volume" .) "existing" }}
{{- $_ := required "registry.storage.filesystem.existing_claim: name the claim" $registry.storage.filesystem.existing_claim }}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}
{{- fail "replicas: one claim is for one pod; for several use volume: claim, or s3" }}
{{- end }}
{{- else if $registry.storage.filesystem.existing_claim }}
{{- fail "registry.storage.filesystem.existing_claim: is used with volume: existing alone" }}
{{- end }}
{{- if and .Values.config.hosted (ne $registry.storage.mode "s3") }}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}
{{- fail "config.hosted: several pods with a volume each would have other images each; use registry.storage.mode: s3, or one pod" }}
{{- else if eq (include "entrepot.volume" .) "emptyDir" }}
{{- fail "config.hosted: what is pushed would be gone with the pod; use another registry.storage.filesystem.volume than emptyDir, or registry.storage.mode: s3" }}
{{- end }}
{{- end }}
{{- if and (include "entrepot.isShared" .) $registry.replicas.enabled (not $registry.replicas.secret) }}
{{- fail (printf "registry.replicas.secret: several pods on one bucket need a Secret to know each other by, or registry.replicas.enabled=false. This makes one:\n  kubectl create secret generic %s-replicas --namespace %s --from-literal=%s=\"$(openssl rand -hex 32)\"\nThen set registry.replicas.secret=%[1]s-replicas" (include "entrepot.fullname" .) .Release.Namespace $registry.replicas.key) }}
{{- end }}
{{- end }}

{{/* A ConfigMap is for everybody to read who may look at the namespace. ${NAME} stands for a variable of extraEnv. */}}
{{- define "entrepot.refuseSecrets" -}}
{{- $path := first . }}
{{- $value := last . }}
{{- if kindIs "map" $value }}
{{- range $key, $below := $value }}
{{- $isSecret := regexMatch "^(password|.*secret|.*secret_key|.*_token)$" $key }}
{{- if and $isSecret (kindIs "string" $below) (not (contains "${" $below)) $below }}
{{- fail (printf "%s.%s: would stand in a ConfigMap; use registry.upstream.credentials, or write ${NAME} and have extraEnv take that variable from a Secret" $path $key) }}
{{- end }}
{{- include "entrepot.refuseSecrets" (list (printf "%s.%s" $path $key) $below) }}
{{- end }}
{{- else if kindIs "slice" $value }}
{{- range $index, $below := $value }}
{{- include "entrepot.refuseSecrets" (list (printf "%s[%d]" $path $index) $below) }}
{{- end }}
{{- end }}
{{- end }}
