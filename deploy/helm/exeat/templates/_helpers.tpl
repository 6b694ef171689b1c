{{- define "exeat.selectorLabels" -}}
app.kubernetes.io/name: exeat
{{- end -}}

{{- define "exeat.labels" -}}
{{ include "exeat.selectorLabels" . }}
app.kubernetes.io/part-of: exeat
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* The only port that the agent listens on. */ -}}
{{- define "exeat.metricsPort" -}}
{{ regexFind "[0-9]+$" (dig "metrics" "listen" "127.0.0.1:9469" .Values.config) }}
{{- end -}}

{{- /* Whom the kubelet asks: the address that is listened on, loopback if it is all of them. */ -}}
{{- define "exeat.probeHost" -}}
{{- $address := regexReplaceAll ":[0-9]+$" (dig "metrics" "listen" "127.0.0.1:9469" .Values.config) "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if eq $address "0.0.0.0" }}127.0.0.1{{ else if eq $address "::" }}::1{{ else }}{{ $address }}{{ end -}}
{{- end -}}
