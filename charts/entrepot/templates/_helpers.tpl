{{/* What all names begin with: 42 characters at most, so that suffixes, and those of Kubernetes, fit into 63. */}}
{{- define "entrepot.fullname" -}}
{{- $name := include "entrepot.name" . }}
{{- $release := .Release.Name | replace "." "-" }}
{{- $full := .Values.fullnameOverride | default (contains $name $release | ternary $release (printf "%s-%s" $release $name)) }}
{{- if not (regexMatch "^[a-z]" $full) }}
{{- fail (printf "fullnameOverride: name the objects, as a Service cannot be called %s, which begins with no letter" $full) }}
{{- end }}
{{- include "entrepot.shorten" (list $full 42) }}
{{- end }}

{{/* A name of so many characters at most; a longer one ends in a hash. */}}
{{- define "entrepot.shorten" -}}
{{- $name := first . }}
{{- $most := last . }}
{{- if gt (len $name) $most }}
{{- printf "%s-%s" ($name | trunc (sub $most 9 | int) | trimAll "-.") ($name | sha256sum | trunc 8) }}
{{- else }}
{{- $name }}
{{- end }}
{{- end }}

{{- define "entrepot.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The pods of a component (mirror, nodes, …). Selectors cannot be changed, so nothing else may ever get in here. */}}
{{- define "entrepot.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "entrepot.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* The labels of an object of a component. Made as a mapping, so that no key is there twice. */}}
{{- define "entrepot.labels" -}}
{{- $root := first . }}
{{- $own := include "entrepot.selector" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" ($root.Chart.AppVersion | replace "+" "_" | trunc 63) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- merge $own ($root.Values.extraLabels | default dict) | toYaml }}
{{- end }}

{{/* The labels of a component's pods. No version is in them: pods are not replaced for a new chart alone. */}}
{{- define "entrepot.podLabels" -}}
{{- $root := first . }}
{{- merge (include "entrepot.selector" . | fromYaml) ($root.Values.podLabels | default dict) ($root.Values.extraLabels | default dict) | toYaml }}
{{- end }}

{{- define "entrepot.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "entrepot.fullname" .) "default") }}
{{- end }}

{{- define "entrepot.image" -}}
{{- with .Values.image }}
{{- $registry := required "image.registry: name the registry that has the image; none is published yet, docs/container.md says how it is built" .registry }}
{{- $repository := printf "%s/%s" (trimSuffix "/" $registry) .name }}
{{- if .digest }}
{{- printf "%s@%s" $repository .digest }}
{{- else }}
{{- printf "%s:%s" $repository (.tag | default $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of image.pullSecret, a name or a list of names. */}}
{{- define "entrepot.pullSecrets" -}}
{{- range kindIs "string" . | ternary (list .) . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}

{{/* What makes the mirror's pods. */}}
{{- define "entrepot.kind" -}}
{{- eq .Values.registry.storage.mode "s3" | ternary "Deployment" "StatefulSet" }}
{{- end }}

{{/* Several pods on one bucket. */}}
{{- define "entrepot.isShared" -}}
{{- $many := or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}
{{- if and (eq .Values.registry.storage.mode "s3") $many }}true{{ end }}
{{- end }}

{{/* What the folder lies on: claim, emptyDir or existing. */}}
{{- define "entrepot.volume" -}}
{{- with .Values.registry.storage }}
{{- .filesystem.volume | default (eq .mode "s3" | ternary "emptyDir" "claim") }}
{{- end }}
{{- end }}

{{- define "entrepot.claimSpec" -}}
accessModes: [{{ .access_mode }}]
{{- if not (kindIs "invalid" .storage_class) }}
storageClassName: {{ .storage_class | quote }}
{{- end }}
resources: { requests: { storage: {{ .size }} } }
{{- end }}

{{/* A duration of the configuration in seconds. */}}
{{- define "entrepot.seconds" -}}
{{- $key := first . }}
{{- $text := last . | toString | trim }}
{{- if not (regexMatch "^([0-9]+[smh] ?)+$" $text) }}
{{- fail (printf "config.%s: write %q in seconds, minutes or hours, such as 90s, as the pod's grace period is computed from it" $key $text) }}
{{- end }}
{{- $total := 0 }}
{{- range regexFindAll "[0-9]+[smh]" $text -1 }}
{{- $factor := get (dict "s" 1 "m" 60 "h" 3600) (regexFind "[smh]" .) }}
{{- $total = add $total (mul $factor (regexFind "[0-9]+" . | atoi)) }}
{{- end }}
{{- $total }}
{{- end }}

{{/* How long a pod has to end: longer than the program takes. */}}
{{- define "entrepot.gracePeriod" -}}
{{- $config := .Values.config }}
{{- $least := add (include "entrepot.seconds" (list "shutdown_delay" $config.shutdown_delay)) (include "entrepot.seconds" (list "shutdown_timeout" $config.shutdown_timeout)) }}
{{- $given := .Values.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $given }}
{{- add $least 10 }}
{{- else if le (int64 $given) $least }}
{{- fail (printf "terminationGracePeriodSeconds: %d s is not more than config.shutdown_delay and config.shutdown_timeout together, %d s" (int64 $given) $least) }}
{{- else }}
{{- $given }}
{{- end }}
{{- end }}
