{{/* What a schema can't say: each is a sentence that names the value and what would be right. */}}
{{- define "underlay.refuse" -}}
{{- include "underlay.refuseMoved" . -}}
{{- $networks := include "underlay.networks" . | fromJsonArray -}}
{{- $names := list -}}
{{- range $networks -}}
  {{- include "underlay.refuseNetwork" . -}}
  {{- if has .name $names -}}
    {{- fail (printf "two networks are called %q: their definitions would be one; give one of them another name" .name) -}}
  {{- end -}}
  {{- $names = append $names .name -}}
{{- end -}}
{{- range .Values.overlay_crds -}}
  {{- if and .enable (has .name $names) -}}
    {{- fail (printf "overlay_crds: %q is the name of a network too; give one of them another name" .name) -}}
  {{- end -}}
{{- end -}}
{{- include "underlay.refuseUnknownSubnets" (dict "root" . "networks" $networks) -}}
{{- include "underlay.refuseUnknownImages" . -}}
{{- if and (eq .Values.multus.mode "upstream") (not .Values.multus.config.cni_conf.clusterNetwork) (not .Values.multus.config.cni_conf.delegates) -}}
  {{- fail "multus.config.cni_conf.clusterNetwork is missing: Multus has to know the cluster's own network; give the name in its file in /etc/cni/net.d, such as k8s-pod-network for Calico" -}}
{{- end -}}
{{- end -}}

{{- define "underlay.refuseNetwork" -}}
{{- $where := printf "network %q (%s)" .name .type -}}
{{- if and (hasPrefix "macvlan" .type) (not .master) -}}
  {{- fail (printf "%s: master is missing; give the nodes' link to the LAN, such as eth0, in macvlan.master" $where) -}}
{{- end -}}
{{- if and (not .ipam.type) (ne .type "sriov-dpdk") -}}
  {{- fail (printf "%s: ipam.type is missing; give the plugin that assigns the addresses, such as whereabouts, with its keys (multus-underlay had spiderpool: write ipam: {type: spiderpool})" $where) -}}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" . "networks" …): veth and router need to know the services, and router the overlay too. */}}
{{- define "underlay.refuseUnknownSubnets" -}}
{{- $root := .root -}}
{{- range .networks -}}
  {{- if not (has .type (list "vxlan-standalone" "sriov-dpdk")) -}}
    {{- if not (include "underlay.services" $root | fromJson).subnets -}}
      {{- fail (printf "network %q (%s): cluster_subnet.service_subnet is empty, and the cluster does not tell; give the range of --service-cluster-ip-range of kube-apiserver, such as cluster_subnet.service_subnet.ipv4=10.96.0.0/12 (`helm template` asks no cluster)" .name .type) -}}
    {{- end -}}
    {{- if and (hasSuffix "-overlay" .type) (not (include "underlay.overlay" $root | fromJson).subnets) -}}
      {{- fail (printf "network %q (%s): cluster_subnet.pod_subnet is empty, and the cluster does not tell; give the overlay's pod CIDRs, such as cluster_subnet.pod_subnet={10.244.0.0/16}; without an overlay list networks of type standalone in networks" .name .type) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "underlay.refuseUnknownImages" -}}
{{- $images := dict -}}
{{- if eq .Values.multus.mode "upstream" }}{{ $_ := set $images "multus.image" .Values.multus.image }}{{ end -}}
{{- if eq .Values.sriov.cni "upstream" -}}
  {{- range $name := list "sriovCni" "sriovDevicePlugin" -}}
    {{- $_ := set $images (printf "sriov.images.%s" $name) (get $.Values.sriov.images $name) -}}
  {{- end -}}
{{- end -}}
{{- range $name, $image := $images -}}
  {{- if not $image.registry -}}
    {{- fail (printf "%s.registry is missing: give the registry of the project (%s), or your mirror of it" $name $image.repository) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "underlay.refuseMoved" -}}
{{- $moved := dict
    "meta-plugins" "image: the plugins are in our own"
    "sriov.manifests" "sriov.enable for the definitions, and sriov.cni=upstream for the DaemonSets"
    "multus.config.cni_conf.defaultNetwork" "defaultNetworks: nobody has read defaultNetwork"
    "multus.config.cni_conf.type" "multus.mode"
    "multus.config.cni_conf.binDir" "cni.binDir"
    "multus.config.cni_conf.confDir" "cni.confDir" -}}
{{- range $path, $instead := $moved -}}
  {{- $value := $.Values -}}
  {{- range splitList "." $path -}}
    {{- if kindIs "map" $value }}{{ $value = get $value . }}{{ else }}{{ $value = "" }}{{ end -}}
  {{- end -}}
  {{- if $value }}{{ fail (printf "%s is a value of multus-underlay; here it is %s" $path $instead) }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" . "network" …): the device plugin's resource whose devices the pods get. */}}
{{- define "underlay.resource" -}}
{{- $plugin := .root.Values.sriov.config.sriov_device_plugin -}}
{{- default (printf "%s/%s" $plugin.resourcePrefix $plugin.name) .network.resourceName -}}
{{- end -}}
