{{/* The template of the mirror's pods. */}}
{{- define "entrepot.pod" -}}
metadata:
  labels: {{- include "entrepot.podLabels" (list . "mirror") | nindent 4 }}
  annotations:
    checksum/config: {{ include "entrepot.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "entrepot.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "entrepot.gracePeriod" . }}
  {{- with .Values.image.pullSecret }}
  imagePullSecrets: {{- include "entrepot.pullSecrets" . | nindent 4 }}
  {{- end }}
  securityContext: {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- if or .Values.initContainers (not .Values.registry.admin.token_secret) }}
  initContainers:
    {{- if not .Values.registry.admin.token_secret }}
    - name: token
      image: {{ include "entrepot.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      securityContext: {{- toYaml .Values.securityContext | nindent 8 }}
      command: [node, --eval, 'fs.writeFileSync("/run/secrets/entrepot/admin/token", crypto.randomBytes(32).toString("hex"))']
      resources: {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts: [{ name: admin, mountPath: /run/secrets/entrepot/admin }]
    {{- end }}
    {{- with .Values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: entrepot
      image: {{ include "entrepot.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      securityContext: {{- toYaml .Values.securityContext | nindent 8 }}
      env: {{- include "entrepot.env" . | nindent 8 }}
      {{- with .Values.extraEnvFrom }}
      envFrom: {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8080
          {{- with .Values.hostPort }}
          hostPort: {{ . }}
          {{- end }}
        - { name: admin, containerPort: 9090 }
        {{- if include "entrepot.hasReplicas" . }}
        - { name: replicas, containerPort: 15001 }
        {{- end }}
      livenessProbe: {{- toYaml (merge (.Values.livenessProbe | default dict | deepCopy) (dict "httpGet" (dict "path" "/healthz" "port" "admin") "timeoutSeconds" 5)) | nindent 8 }}
      readinessProbe: {{- toYaml (merge (.Values.readinessProbe | default dict | deepCopy) (dict "httpGet" (dict "path" "/readyz" "port" "admin") "periodSeconds" 5 "timeoutSeconds" 3 "failureThreshold" 2)) | nindent 8 }}
      startupProbe: {{- toYaml (merge (.Values.startupProbe | default dict | deepCopy) (dict "httpGet" (dict "path" "/healthz" "port" "admin") "periodSeconds" 1 "failureThreshold" 60)) | nindent 8 }}
      resources: {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts: {{- include "entrepot.volumeMounts" . | nindent 8 }}
    {{- with .Values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- $selector := dict "matchLabels" (include "entrepot.selector" (list . "mirror") | fromYaml) }}
    {{- $spread := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" }}
    {{- range .Values.topologySpreadConstraints | default (list $spread) }}
    - {{- hasKey . "labelSelector" | ternary . (set (deepCopy .) "labelSelector" $selector) | toYaml | nindent 6 }}
    {{- end }}
  volumes: {{- include "entrepot.volumes" . | nindent 4 }}
{{- end }}

{{- define "entrepot.env" -}}
- { name: CONFIG, value: /etc/entrepot/entrepot.yaml }
# In the environment, where the image has it, too.
- { name: LISTEN, value: ":8080" }
{{- if not .Values.registry.upstream.config.deploy }}
- { name: UPSTREAM_CONFIG_FILE, value: /run/secrets/entrepot/upstream-config/upstream.yaml }
{{- end }}
{{- if include "entrepot.hasReplicas" . }}
- { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
{{- end }}
{{- if eq .Values.registry.storage.mode "s3" }}
{{- with .Values.registry.storage.s3.auth_secret }}
{{- if .name_override }}
- { name: S3_ACCESS_KEY, valueFrom: { secretKeyRef: { name: {{ .name_override | quote }}, key: {{ .access_key_name | quote }} } } }
- { name: S3_SECRET_KEY, valueFrom: { secretKeyRef: { name: {{ .name_override | quote }}, key: {{ .secret_key_name | quote }} } } }
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Secrets are mounted as whole folders: only so do their changes reach the program. */}}
{{- define "entrepot.volumeMounts" -}}
- { name: config, mountPath: /etc/entrepot, readOnly: true }
- { name: cache, mountPath: {{ .Values.registry.storage.filesystem.path | quote }} }
- { name: admin, mountPath: /run/secrets/entrepot/admin, readOnly: true }
{{- if not .Values.registry.upstream.config.deploy }}
- { name: upstream-config, mountPath: /run/secrets/entrepot/upstream-config, readOnly: true }
{{- end }}
{{- range include "entrepot.upstreamSecrets" . | fromYamlArray }}
- { name: {{ .volume }}, mountPath: {{ printf "/run/secrets/entrepot/upstreams/%s" .secret | quote }}, readOnly: true }
{{- end }}
{{- if include "entrepot.hasReplicas" . }}
- { name: replicas, mountPath: /run/secrets/entrepot/replicas, readOnly: true }
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "entrepot.volumes" -}}
- { name: config, configMap: { name: {{ include "entrepot.fullname" . | quote }} } }
{{- $storage := .Values.registry.storage }}
{{- $volume := include "entrepot.volume" . }}
{{- if eq $volume "emptyDir" }}
- { name: cache, emptyDir: { sizeLimit: {{ $storage.filesystem.size }} } }
{{- else if eq $volume "existing" }}
- { name: cache, persistentVolumeClaim: { claimName: {{ $storage.filesystem.existing_claim | quote }} } }
{{- else if eq $storage.mode "s3" }}
- name: cache
  ephemeral:
    volumeClaimTemplate:
      spec: {{- include "entrepot.claimSpec" $storage.filesystem | nindent 8 }}
{{- end }}
{{- with .Values.registry.admin.token_secret }}
- { name: admin, secret: { secretName: {{ . | quote }}, defaultMode: 0440 } }
{{- else }}
- { name: admin, emptyDir: { medium: Memory, sizeLimit: 1Mi } }
{{- end }}
{{- if not .Values.registry.upstream.config.deploy }}
- { name: upstream-config, secret: { secretName: {{ .Values.registry.upstream.config.name_override | quote }}, defaultMode: 0440 } }
{{- end }}
{{- range include "entrepot.upstreamSecrets" . | fromYamlArray }}
- { name: {{ .volume }}, secret: { secretName: {{ .secret | quote }}, defaultMode: 0440 } }
{{- end }}
{{- if include "entrepot.hasReplicas" . }}
- { name: replicas, secret: { secretName: {{ .Values.registry.replicas.secret | quote }}, defaultMode: 0440 } }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The Secrets with accounts, each once, and the names of their volumes. */}}
{{- define "entrepot.upstreamSecrets" -}}
{{- $secrets := list }}
{{- range .Values.registry.upstream.credentials }}
{{- $secrets = append $secrets .secret }}
{{- end }}
{{- range $index, $secret := uniq $secrets }}
- { volume: upstream-{{ $index }}, secret: {{ $secret | quote }} }
{{- end }}
{{- end }}
