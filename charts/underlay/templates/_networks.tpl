{{/*
The networks that the values ask for, as a JSON list. One is a dict of name, type, master, vlanID, mode, mtu,
resourceName, vxlan, ipam, and what a chained plugin has: migrate_route, overlayInterface, custom_route, skip_call,
options.
*/}}
{{- define "underlay.networks" -}}
{{- $macvlan := .Values.macvlan -}}
{{- $sriov := omit .Values.sriov.sriov_crd "vlanId" -}}
{{- $_ := set $sriov "vlanID" .Values.sriov.sriov_crd.vlanId -}}
{{- $given := list -}}
{{- if $macvlan.enable -}}
  {{- $given = concat $given (include "underlay.pair" (dict "of" $macvlan "types" (list "macvlan-standalone" "macvlan-overlay")) | fromJsonArray) -}}
{{- end -}}
{{- if .Values.sriov.enable -}}
  {{- $given = concat $given (include "underlay.pair" (dict "of" $sriov "types" (list "sriov-standalone" "sriov-overlay" "sriov-dpdk")) | fromJsonArray) -}}
{{- end -}}
{{- $networks := list -}}
{{- range concat $given .Values.networks -}}
  {{- $default := ternary $macvlan $sriov (hasPrefix "macvlan" .type) -}}
  {{- $networks = append $networks (include "underlay.defaulted" (dict "given" . "default" $default) | fromJson) -}}
{{- end -}}
{{- if .Values.vxlan.enable -}}
  {{- range .Values.vxlan.vxlans -}}
    {{- $own := dict "name" .name "vxlan" . -}}
    {{- $networks = append $networks (include "underlay.defaulted" (dict "given" $own "default" $.Values.vxlan) | fromJson) -}}
  {{- end -}}
{{- end -}}
{{- toJson $networks -}}
{{- end -}}

{{/* One network for pods without an overlay and one for those with: the name that was given is that of one type. */}}
{{- define "underlay.pair" -}}
{{- $pair := list -}}
{{- range .types -}}
  {{- $name := printf "%s-vlan%d" . (int $.of.vlanID) -}}
  {{- if and $.of.name (eq . $.of.type) }}{{ $name = $.of.name }}{{ end -}}
  {{- $pair = append $pair (dict "type" . "name" $name) -}}
{{- end -}}
{{- toJson $pair -}}
{{- end -}}

{{/* `default` with what is `given` instead; unlike in `merge`, 0, false and "" are given too. */}}
{{- define "underlay.defaulted" -}}
{{- $all := deepCopy .default -}}
{{- range $key, $value := .given }}{{ $_ := set $all $key $value }}{{ end -}}
{{- toJson $all -}}
{{- end -}}

{{/* Of (dict "root" . "network" …): the CNI configuration. */}}
{{- define "underlay.configuration" -}}
{{- $network := .network -}}
{{- $plugins := list (include (printf "underlay.%s" (splitList "-" $network.type | first)) $network | fromJson) -}}
{{- $chained := dict "standalone" "veth" "overlay" "router" -}}
{{- with get $chained (splitList "-" $network.type | last) -}}
  {{- if not (and (eq . "veth") $network.vxlan) -}}
    {{- $plugins = append $plugins (include "underlay.chained" (dict "root" $.root "network" $network "plugin" .) | fromJson) -}}
  {{- end -}}
{{- end -}}
{{- dict "cniVersion" .root.Values.definitions.cniVersion "name" $network.name "plugins" $plugins | toPrettyJson -}}
{{- end -}}

{{- define "underlay.macvlan" -}}
{{- $plugin := dict "type" "macvlan" "master" (include "underlay.master" .) "mode" .mode "ipam" .ipam -}}
{{- with .mtu }}{{ $_ := set $plugin "mtu" (int .) }}{{ end -}}
{{- toJson $plugin -}}
{{- end -}}

{{/* macvlan tags nothing: pods of a VLAN are behind the link of that VLAN, which the nodes have to have. */}}
{{- define "underlay.master" -}}
{{- $suffix := printf ".%d" (int .vlanID) -}}
{{- .master }}{{ if and (int .vlanID) (not (hasSuffix $suffix .master)) }}{{ $suffix }}{{ end -}}
{{- end -}}

{{- define "underlay.sriov" -}}
{{- $plugin := dict "type" "sriov" "vlan" .vlanID -}}
{{- if and .ipam (ne .type "sriov-dpdk") }}{{ $_ := set $plugin "ipam" .ipam }}{{ end -}}
{{- toJson $plugin -}}
{{- end -}}

{{/* Beside an overlay's NIC this one leaves the default route to it, unless the network says otherwise. */}}
{{- define "underlay.vxlan" -}}
{{- $vxlan := .vxlan -}}
{{- if eq .type "vxlan-overlay" -}}
  {{- $vxlan = include "underlay.defaulted" (dict "given" $vxlan "default" (dict "default_route" false)) | fromJson -}}
{{- end -}}
{{- dict "type" "vxlan" "vxlans" (list $vxlan) "defaultNetwork" .name "ipam" .ipam | toJson -}}
{{- end -}}

{{/* Of (dict "root" . "network" … "plugin" …): veth or router. */}}
{{- define "underlay.chained" -}}
{{- $network := .network -}}
{{- $values := .root.Values.cluster_subnet -}}
{{- $plugin := dict "type" .plugin
    "service_hijack_subnet" (include "underlay.services" .root | fromJson).subnets
    "overlay_hijack_subnet" (include "underlay.overlay" .root | fromJson).subnets
    "additional_hijack_subnet" $network.custom_route
    "migrate_route" $network.migrate_route
    "rp_filter" $values.rp_filter
    "skip_call" $network.skip_call -}}
{{- if eq .plugin "router" }}{{ $_ := set $plugin "overlay_interface" $network.overlayInterface }}{{ end -}}
{{- include "underlay.defaulted" (dict "given" $network.options "default" $plugin) -}}
{{- end -}}
