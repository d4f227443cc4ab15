{{/* What the objects are called, and what they have in common. */}}

{{- define "underlay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* 52 characters: DaemonSets put a hash behind it in the labels of their pods, which have 63. */}}
{{- define "underlay.fullname" -}}
{{- $name := include "underlay.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" . "component" …): what selects a component's pods, and never changes. */}}
{{- define "underlay.selector" -}}
app.kubernetes.io/name: {{ include "underlay.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "underlay.labels" -}}
{{ include "underlay.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of an object with registry, repository and tag. */}}
{{- define "underlay.image" -}}
{{- with .registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .repository }}:{{ .tag }}
{{- end -}}

{{/* What all pods of the chart have: they run on every node, whatever is wrong with it, and before others. */}}
{{- define "underlay.placement" -}}
hostNetwork: true
dnsPolicy: Default
enableServiceLinks: false
priorityClassName: {{ .Values.priorityClassName }}
nodeSelector:
  {{- toYaml .Values.nodeSelector | nindent 2 }}
tolerations:
  {{- toYaml .Values.tolerations | nindent 2 }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Whether our agent asks the Kubernetes API. */}}
{{- define "underlay.asksApi" -}}
{{- if eq .Values.multus.mode "builtin" }}yes{{ end -}}
{{- end -}}

{{/* Whether our agent executes plugins of others, which are on the node: another plugin's IPAM is one too. */}}
{{- define "underlay.executes" -}}
{{- if or (eq .Values.multus.mode "builtin") (and .Values.vxlan.enable (ne .Values.vxlan.ipam.type "routetable")) }}yes{{ end -}}
{{- end -}}
