{{/* Pieces of the DaemonSet of our own. What each privilege is for: docs/install.md. */}}

{{- define "underlay.container" -}}
image: {{ include "underlay.image" .Values.image }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{/*
The capabilities of whoever acts on the node's and the pods' network. SYS_CHROOT is for plugins of others, which run
in the node's root; SYS_PTRACE opens /proc/PID/ns/net, which there is with hostPID alone.
*/}}
{{- define "underlay.capabilities" -}}
{{- $needed := list "NET_ADMIN" "NET_RAW" "SYS_ADMIN" -}}
{{- if include "underlay.executes" . }}{{ $needed = append $needed "SYS_CHROOT" }}{{ end -}}
{{- if .Values.agent.hostPID }}{{ $needed = append $needed "SYS_PTRACE" }}{{ end -}}
{{- concat $needed .Values.agent.capabilities | uniq | toJson -}}
{{- end -}}

{{/*
Of (dict "root" . "capabilities" (list …)). With capabilities the container writes /proc/sys/net, which AppArmor's
default profile forbids; spc_t is the type of SELinux for containers that work on directories of the node.
*/}}
{{- define "underlay.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsUser: 0
capabilities:
  drop: [ALL]
  {{- with .capabilities }}
  add: {{ toJson . }}
  {{- end }}
seccompProfile:
  type: RuntimeDefault
seLinuxOptions:
  type: spc_t
{{- if and .capabilities (semverCompare ">=1.30-0" .root.Capabilities.KubeVersion.Version) }}
appArmorProfile:
  type: Unconfined
{{- end }}
{{- end -}}

{{/* Of (dict "root" . "further" (list …)), arguments: it runs before the agent, and stays beside it. */}}
{{- define "underlay.install" -}}
{{- with .root -}}
{{ include "underlay.container" . }}
args:
  - install
  {{- include "underlay.places" . | nindent 2 }}
  {{- if include "underlay.conflist" . }}
  - --network=/etc/underlay/00-underlay.conflist
  {{- end }}
  {{- range $.further }}
  - {{ . }}
  {{- end }}
resources:
  {{- toYaml .Values.install.resources | nindent 2 }}
securityContext:
  {{- include "underlay.security" (dict "root" . "capabilities" list) | nindent 2 }}
volumeMounts:
  {{- include "underlay.installMounts" . | nindent 2 }}
  {{- if include "underlay.conflist" . }}
  - name: network
    mountPath: /etc/underlay
    readOnly: true
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" . "verb" … "names" (list …)): plugins of the CNI project, to nodes that lack them, and off again. */}}
{{- define "underlay.referencePlugins" -}}
{{- with .root -}}
{{ include "underlay.container" . }}
command:
  - reference-plugins
  - {{ $.verb }}
  - /host{{ .Values.cni.binDir }}
  {{- range $.names }}
  - {{ . }}
  {{- end }}
resources:
  {{- toYaml .Values.install.resources | nindent 2 }}
securityContext:
  {{- include "underlay.security" (dict "root" . "capabilities" list) | nindent 2 }}
volumeMounts:
  - name: bin
    mountPath: /host{{ .Values.cni.binDir }}
{{- end -}}
{{- end -}}

{{- define "underlay.places" -}}
- --host-root=/host
- --bin-dir={{ .Values.cni.binDir }}
- --conf-dir={{ .Values.cni.confDir }}
{{- end -}}

{{/* What whoever works for pods sees of the node: records and socket, the pods' namespaces as they come, its logs. */}}
{{- define "underlay.nodeMounts" -}}
- name: records
  mountPath: /run/underlay
- name: netns
  mountPath: /run/netns
  mountPropagation: HostToContainer
- name: log
  mountPath: /var/log/underlay
{{- end -}}

{{- define "underlay.installMounts" -}}
- name: bin
  mountPath: /host{{ .Values.cni.binDir }}
- name: conf
  mountPath: /host{{ .Values.cni.confDir }}
- name: names
  mountPath: /host/etc/iproute2
{{- end -}}

{{/* The configuration that makes the runtime call the plugin `underlay`; nothing where another one does that. */}}
{{- define "underlay.conflist" -}}
{{- if eq .Values.multus.mode "builtin" -}}
{{- $given := .Values.multus.config.cni_conf -}}
{{- $plugin := pick $given "systemNamespaces" "namespaceIsolation" "globalNamespaces" -}}
{{- range $key := list "clusterNetwork" "defaultNetworks" "delegates" "readinessindicatorfile" -}}
  {{- with get $given $key }}{{ $_ := set $plugin $key . }}{{ end -}}
{{- end -}}
{{- $asked := dict "io.kubernetes.cri.pod-annotations" true -}}
{{- $own := dict "type" "underlay" "kubeconfig" "" "confDir" .Values.cni.confDir "nadDir" (printf "%s/underlay.d" .Values.cni.confDir) "binDir" .Values.cni.binDir "capabilities" (merge $asked $given.capabilities) -}}
{{- dict "cniVersion" $given.cniVersion "name" $given.name "plugins" (list (merge $own $plugin)) | toPrettyJson -}}
{{- end -}}
{{- end -}}
