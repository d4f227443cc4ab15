{{/*
The subnets that pods reach through their node: as they are given, else as the cluster tells them. Each of these gives
{"subnets": […], "from": "…"} as JSON; without subnets nobody has told. `lookup` is empty in `helm template`.
*/}}

{{- define "underlay.services" -}}
{{- $given := .Values.cluster_subnet.service_subnet -}}
{{- $subnets := compact (list $given.ipv4 $given.ipv6) -}}
{{- $from := "cluster_subnet.service_subnet" -}}
{{- if and (not $subnets) (.Capabilities.APIVersions.Has "networking.k8s.io/v1/ServiceCIDR") -}}
  {{- range (lookup "networking.k8s.io/v1" "ServiceCIDR" "" "").items -}}
    {{- $subnets = concat $subnets .spec.cidrs -}}
  {{- end -}}
  {{- $from = "the cluster's ServiceCIDRs" -}}
{{- end -}}
{{- if not $subnets -}}
  {{- $subnets = include "underlay.kubeadm" "serviceSubnet" | fromJsonArray -}}
  {{- $from = "kube-system/kubeadm-config" -}}
{{- end -}}
{{- dict "subnets" (uniq $subnets) "from" $from | toJson -}}
{{- end -}}

{{- define "underlay.overlay" -}}
{{- $subnets := .Values.cluster_subnet.pod_subnet -}}
{{- $from := "cluster_subnet.pod_subnet" -}}
{{- if and (not $subnets) (.Capabilities.APIVersions.Has "crd.projectcalico.org/v1/IPPool") -}}
  {{- range (lookup "crd.projectcalico.org/v1" "IPPool" "" "").items -}}
    {{- if not .spec.disabled }}{{ $subnets = append $subnets .spec.cidr }}{{ end -}}
  {{- end -}}
  {{- $from = "Calico's IPPools" -}}
{{- end -}}
{{- if not $subnets -}}
  {{- with (lookup "v1" "ConfigMap" "kube-system" "cilium-config").data -}}
    {{- $pools := printf "%s %s" (get . "cluster-pool-ipv4-cidr") (get . "cluster-pool-ipv6-cidr") -}}
    {{- $subnets = regexFindAll "[0-9a-fA-F.:]+/[0-9]+" $pools -1 -}}
  {{- end -}}
  {{- $from = "kube-system/cilium-config" -}}
{{- end -}}
{{- if not $subnets -}}
  {{- $subnets = include "underlay.kubeadm" "podSubnet" | fromJsonArray -}}
  {{- $from = "kube-system/kubeadm-config" -}}
{{- end -}}
{{- dict "subnets" (uniq $subnets) "from" $from | toJson -}}
{{- end -}}

{{/* A key of `networking` in kubeadm's configuration of the cluster, as a list. */}}
{{- define "underlay.kubeadm" -}}
{{- $subnets := list -}}
{{- with (lookup "v1" "ConfigMap" "kube-system" "kubeadm-config").data -}}
  {{- with (get . "ClusterConfiguration" | fromYaml).networking -}}
    {{- with get . $ }}{{ $subnets = splitList "," . }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- toJson $subnets -}}
{{- end -}}
