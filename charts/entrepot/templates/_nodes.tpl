{{/* The registries that nodes are told of. */}}
{{- define "entrepot.registries" -}}
{{- $own := list "docker.io" }}
{{- range concat .Values.registry.upstream.config.contents .Values.registry.upstream.credentials }}
{{- $own = append $own .namespace }}
{{- end }}
{{- .Values.nodes.registries | default (uniq $own) | toYaml }}
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
{{- else if contains "ADDRESS" $url }} ADDRESS is that of the load balancer, which should not be open to the world:
  kubectl get service --namespace {{ .Release.Namespace }} {{ $full }} --output jsonpath='{.status.loadBalancer.ingress[0]}'
{{- else if eq $url "http://NODE:PORT" }} NODE is the address of any node (IPv6 in brackets), PORT the one that Kubernetes chose:
  kubectl get service --namespace {{ .Release.Namespace }} {{ $full }} --output jsonpath='{.spec.ports[0].nodePort}'
{{- else if eq $service.type "NodePort" }} NODE is the address of any node (IPv6 in brackets).
{{- else if contains "NODE" $url }} NODE is the address of a node that has a pod (IPv6 in brackets).
{{- end }}
{{- end }}
