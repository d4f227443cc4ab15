"""Calls of another IPAM plugin, which gives an attachment of ours its addresses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from underlay.cni.errors import CniError, DecodingFailure, InvalidConfig
from underlay.cni.execute import UNKNOWN_COMMAND, execute, found_in
from underlay.cni.plugin import Node
from underlay.cni.result import Result, parse, render
from underlay.record import Record

Json = dict[str, Any]
OWN_NETNS = "/proc/self/ns/net"  # the node's, where an address is for the node itself


def add_addresses(record: Record, node: Node, path: tuple[str, ...]) -> Result:
    """ADD of the record's IPAM plugin: the addresses, routes and name servers that it gives."""
    answer = _call("ADD", record.ipam, _variables(record), node, path)
    if answer is None:
        raise DecodingFailure(f"{_name(record.ipam)}: its ADD has printed no result")
    version = record.ipam["config"].get("cniVersion", "")
    return parse(answer, version, where=f"the result of {_name(record.ipam)}")


def delete_addresses(record: Record, node: Node, path: tuple[str, ...]) -> None:
    """DEL of the same: CNI_COMMAND is always said, whatever verb this is a part of."""
    _call("DEL", record.ipam, _variables(record), node, path)


def check_addresses(record: Record, node: Node, path: tuple[str, ...]) -> None:
    """CHECK of the same, with the result of the record as prevResult."""
    config = record.ipam["config"]
    version = config.get("cniVersion", "")
    previous = render(parse(record.result, version, where="the record's result"), version)
    config = {**config, "prevResult": previous}
    _call("CHECK", {**record.ipam, "config": config}, _variables(record), node, path)


def forward(verb: str, config: Json, node: Node, path: tuple[str, ...]) -> None:
    """GC or STATUS of an IPAM plugin; one that is too old to know them has nothing to say."""
    try:
        _call(verb, {"config": config}, {}, node, path)
    except CniError as error:
        if error.code != UNKNOWN_COMMAND:
            raise


def _variables(record: Record) -> dict[str, str]:
    # A plugin refuses its own namespace as a pod's, unless it is told that it is meant.
    override = {"CNI_NETNS_OVERRIDE": "1"} if record.netns == OWN_NETNS else {}
    return {
        **override,
        "CNI_CONTAINERID": record.container_id,
        "CNI_NETNS": record.netns,
        "CNI_IFNAME": record.ifname,
        "CNI_ARGS": record.ipam.get("args", ""),
    }


def _call(
    verb: str, ipam: Mapping[str, Any], variables: Mapping[str, str], node: Node, path: tuple[str, ...]
) -> Json | None:
    name = _name(ipam)
    variables = {**variables, "CNI_PATH": os.pathsep.join(path)}
    return execute(name, executable(name, path, node), verb, ipam["config"], variables, node)


def _name(ipam: Mapping[str, Any]) -> str:
    return str(ipam["config"]["ipam"]["type"])


def executable(name: str, path: tuple[str, ...], node: Node) -> str:
    """The path of an IPAM plugin; InvalidConfig where there is none."""
    if found := found_in(path, name, node):
        return found
    raise InvalidConfig(
        f'ipam.type: "{name}" is an executable in none of {os.pathsep.join(path)}',
        "install that IPAM plugin where CNI_PATH points to, or name another; routetable needs none",
    )
