"""Which NICs a pod gets, and what the plugins of each are told. Pure, but that networks are looked up.

What a runtime says for the pod's own NIC (port mappings, an address that `podman run --ip` asks for) is
for the default network; what it says of the pod is for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from underlay.cni.call import POD_ANNOTATIONS, Call
from underlay.cni.document import get, shown
from underlay.cni.errors import InvalidConfig, UnsupportedField
from underlay.cni.value import Value
from underlay.networks.annotations import Selection, selected_default, selected_networks
from underlay.networks.catalogue import Catalogue, Network
from underlay.networks.conflist import Conflist
from underlay.networks.delegates import Delegate, with_cni_args
from underlay.networks.sources import META
from underlay.plugins.underlay import Config
from underlay.values import dataclass

RESOURCE = "k8s.v1.cni.cncf.io/resourceName"  # of a definition: a device that a device plugin hands out
OF_THE_POD = (POD_ANNOTATIONS, "dns", "cgroupPath")  # capabilities that are the same for each NIC
OF_A_NIC = ("MAC", "IP")  # in CNI_ARGS; all else there is about the pod
ALL_FAMILIES = (4, 6)
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """A network that a pod gets, and how it has asked for it, if it has. `place` is where."""

    place: str
    network: Network
    selection: Selection | None = None


def delegates_of(
    config: Config, call: Call, annotations: Mapping[str, str], catalogue: Catalogue
) -> tuple[Delegate, ...]:
    """The NIC of the call by the default network, then `net1` and so on, or with the names asked for."""
    namespace = call.args.get("K8S_POD_NAMESPACE") or "default"
    first, *others = _wishes(config, namespace, annotations, catalogue)
    _refuse_other_name(first, call.ifname)
    runtime = dict(Value("runtimeConfig", get(call.config, "runtimeConfig")).object())
    names = _names(others, call.ifname)
    of_pod = {key: runtime[key] for key in OF_THE_POD if key in runtime}
    args = {key: value for key, value in call.args.items() if key not in OF_A_NIC}
    found = (
        _delegate(first, call.ifname, runtime, dict(call.args)),
        *(_delegate(wish, name, of_pod, args) for wish, name in zip(others, names, strict=True)),
    )
    _refuse_two_defaults((first, *others))
    return found


def _wishes(
    config: Config, namespace: str, annotations: Mapping[str, str], catalogue: Catalogue
) -> Iterator[Wish]:
    default, *further = config.networks
    selected = selected_default(annotations)
    if selected:
        yield _selected(
            selected,
            config.default_namespace,
            _allowed(config, namespace, config.default_namespace),
            catalogue,
        )
    else:
        yield Wish(default.place, catalogue.configured(default))
    for reference in () if namespace in config.system_namespaces else further:
        yield Wish(reference.place, catalogue.configured(reference))
    allowed = _allowed(config, namespace)
    for selection in selected_networks(annotations):
        yield _selected(selection, namespace, allowed, catalogue)


def _allowed(config: Config, *namespaces: str) -> tuple[str, ...] | None:
    """The namespaces whose definitions a pod may ask for; None: all."""
    return (*namespaces, *config.global_namespaces) if config.is_isolated else None


def _selected(
    selection: Selection, namespace: str, allowed: Sequence[str] | None, catalogue: Catalogue
) -> Wish:
    namespace = selection.namespace or namespace
    if allowed is not None and namespace not in allowed:
        raise InvalidConfig(
            f"{selection.place}: the pod may not use networks of namespace {shown(namespace)}:"
            f" namespaceIsolation is on",
            f"it may use those of {', '.join(dict.fromkeys(allowed))}; globalNamespaces adds others",
        )
    return Wish(selection.place, catalogue.defined(namespace, selection.name, selection.place), selection)


def _refuse_other_name(default: Wish, ifname: str) -> None:
    asked = default.selection.ifname if default.selection else ""
    if asked not in ("", ifname):
        raise InvalidConfig(
            f"{default.place}: the default network's interface can't be {shown(asked)}: the runtime wants it"
            f" to be {shown(ifname)}, and looks for the pod's address there",
            "leave the interface out",
        )


def _names(wishes: Sequence[Wish], first: str) -> list[str]:
    taken = {first: "the default network"}
    names = []
    for index, wish in enumerate(wishes, 1):
        asked = wish.selection.ifname if wish.selection else ""
        name = asked or f"net{index}"
        if name in taken or name == "lo":
            whose = taken.get(name, "every pod, for itself")
            raise InvalidConfig(
                f"{wish.place}: the interface {shown(name)} is that of {whose} already",
                "give each network an interface of its own: <name>@<interface>",
            )
        taken[name] = wish.place
        names.append(name)
    return names


def _delegate(wish: Wish, ifname: str, capabilities: Json, args: dict[str, str]) -> Delegate:
    _refuse_itself(wish)
    _refuse_device(wish)
    network, selection = wish.network, wish.selection
    plain = Delegate(ifname, network.name, network.conflist, capabilities, args)
    if selection is None:
        return plain
    asked = _capabilities(selection)
    declared = _declared(network.conflist)
    further = _arguments(selection, declared)
    return replace(
        plain,
        conflist=with_cni_args(network.conflist, selection.cni_args),
        capabilities=capabilities | asked,
        args=args | further,
        default_route=selection.default_route,
        notes=(*selection.notes, *_unheard(wish, asked, declared, further)),
    )


def _refuse_itself(wish: Wish) -> None:
    if META in wish.network.conflist.types:
        raise InvalidConfig(
            f"{wish.place}: the network {shown(wish.network.name)} calls the plugin {META} itself",
            "it would call itself without end: name the network that is meant",
        )


def _refuse_device(wish: Wish) -> None:
    definition = wish.network.definition
    resource = definition.annotations.get(RESOURCE) if definition else None
    if resource and not (wish.selection and wish.selection.device_id):
        raise UnsupportedField(
            f"{wish.place}: the network {shown(wish.network.name)} needs a device ({RESOURCE}:"
            f" {shown(resource)}), and underlay does not look for one yet",
            "name the device in the annotation: deviceID",
        )


def _capabilities(selection: Selection) -> Json:
    """What is asked for, by the names of CNI's conventions."""
    asked: Json = {
        "ips": list(selection.ips),
        "mac": selection.mac,
        "infinibandGUID": selection.infiniband_guid,
        "portMappings": list(selection.port_mappings),
        "bandwidth": selection.bandwidth,
        "deviceID": selection.device_id,
    }
    return {key: value for key, value in asked.items() if value}


def _declared(conflist: Conflist) -> set[str]:
    """The capabilities that some plugin of the chain declares."""
    each = (plugin.get("capabilities") for plugin in conflist.plugins)
    return {key for found in each if isinstance(found, dict) for key, on in found.items() if on is True}


def _arguments(selection: Selection, declared: Iterable[str]) -> dict[str, str]:
    """In CNI_ARGS what plugins read there that do not declare the capability. Some of those that do would
    refuse several addresses there."""
    args = {}
    if selection.mac and "mac" not in declared:
        args["MAC"] = selection.mac
    if selection.ips and "ips" not in declared:
        args["IP"] = ",".join(selection.ips)
    return {"IgnoreUnknown": "1", **args} if args else {}


def _unheard(wish: Wish, asked: Json, declared: set[str], args: Mapping[str, str]) -> Iterator[str]:
    said = {"ips": "IP", "mac": "MAC"}
    for key in asked:
        if key not in declared and said.get(key) not in args:
            yield (
                f"{wish.place}: no plugin of {wish.network.name} declares the capability {key}: none is told"
            )


def _refuse_two_defaults(wishes: Sequence[Wish]) -> None:
    """A pod has one default route of each family."""
    taken: dict[int, str] = {}
    for wish in wishes:
        gateways = wish.selection.default_route if wish.selection else None
        if gateways is None:
            continue
        for version in {gateway.version for gateway in gateways} or ALL_FAMILIES:
            if version in taken:
                raise InvalidConfig(
                    f"{wish.place}: {taken[version]} asks for default-route of IPv{version} already",
                    "a pod has one default route of each family: leave one out",
                )
            taken[version] = wish.place
