"""One call of a plugin: the environment and standard input that a runtime gives, checked and typed.

The order of the checks is that of the Go library where both can be seen: first the environment, all
missing variables in one error; then that standard input is a JSON object; the network's name; the version.
(CNI SPEC 1.1.0, section 2; `pkg/skel/skel.go` of containernetworking/cni.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from underlay.cni.document import decode, get, shown, spelling
from underlay.cni.errors import CniError, IncompatibleVersion, InvalidConfig, InvalidEnvironment
from underlay.cni.keys import Keys
from underlay.cni.value import Value
from underlay.values import dataclass

__all__ = ["SUPPORTED", "Call", "about", "get", "read_call", "stated_version"]

SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
EVERY_VERSION = ("0.1.0", "0.2.0", *SUPPORTED)
FIRST_VERSION = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

REQUIRED = {  # in the order in which the missing ones are named
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}
OPTIONAL = {"ADD": ("CNI_ARGS",), "CHECK": ("CNI_ARGS",), "DEL": ("CNI_ARGS", "CNI_NETNS")}

IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")  # of containers and networks alike
IDENTIFIER_RULE = 'letters, digits, "_", "." and "-", starting with a letter or a digit'
IFNAME_RULE = 'at most 15 bytes without white space, "/" or ":", and not "." or ".."'
LONGEST_IFNAME = 15  # IFNAMSIZ less the final NUL

VALID_ATTACHMENTS = (
    "cni.dev/valid-attachments",
    "cni.dev/attachments",
)  # libcni sends both, the second is older


POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"  # the capability of that name, in runtimeConfig


@dataclass(frozen=True, slots=True)
class Call:
    """What a runtime asks for. A verb that does not use a variable has it empty, whatever was set."""

    command: str
    container_id: str = ""
    netns: str = ""  # a path; empty where the pod's namespace is gone (DEL)
    ifname: str = ""
    path: tuple[str, ...] = ()  # directories of plugins
    args: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    cni_version: str = SUPPORTED[-1]
    network: str = ""
    prev_result: dict[str, Any] | None = None
    valid_attachments: tuple[tuple[str, str], ...] | None = None  # (container id, ifname); None: not told

    @property
    def pod(self) -> str:
        """Namespace and name, "" where there is no Kubernetes that has said them."""
        name = self.args.get("K8S_POD_NAME")
        return f"{self.args.get('K8S_POD_NAMESPACE', '')}/{name}" if name else ""


def read_call(env: Mapping[str, str], stdin: bytes) -> Call:
    """Read one call; raises InvalidEnvironment, DecodingFailure, InvalidConfig or IncompatibleVersion.

    VERSION reads nothing but the command and a cniVersion, if there is one: it never fails.
    """
    command = env.get("CNI_COMMAND", "")
    used = _variables(env, command)
    if command == "VERSION":
        return Call(command, cni_version=stated_version(stdin))
    args = _args(used.get("CNI_ARGS", ""))
    config = decode(stdin)
    keys = Keys(config)
    return Call(
        command=command,
        container_id=used.get("CNI_CONTAINERID", ""),
        netns=used.get("CNI_NETNS", ""),
        ifname=used.get("CNI_IFNAME", ""),
        path=tuple(filter(None, used["CNI_PATH"].split(os.pathsep))),
        args=args,
        config=config,
        network=_network(keys),
        cni_version=_cni_version(keys, command),
        prev_result=_prev_result(keys, command),
        valid_attachments=_valid_attachments(config) if command == "GC" else None,
    )


def stated_version(stdin: bytes) -> str:
    """Give the version of a reply or an error to this input: its own if we speak it, else our newest."""
    try:
        version = get(decode(stdin), "cniVersion")
    except CniError:
        return SUPPORTED[-1]
    return version if version in SUPPORTED else SUPPORTED[-1]


def about(plugin_name: str) -> str:
    """Say what this executable is, for a person who runs it by hand."""
    return f"CNI plugin {plugin_name} (underlay)\nCNI protocol versions supported: {', '.join(SUPPORTED)}"


def _variables(env: Mapping[str, str], command: str) -> dict[str, str]:
    """Give the variables that the verb uses and that are set, each one valid."""
    if not command:
        raise _missing(["CNI_COMMAND"])
    if command not in REQUIRED:
        raise InvalidEnvironment(
            f"unknown CNI_COMMAND: {shown(command)}", f"known are {', '.join(REQUIRED)}"
        )
    if missing := [name for name in REQUIRED[command] if not env.get(name)]:
        raise _missing(missing)
    used = {name: env[name] for name in (*REQUIRED[command], *OPTIONAL.get(command, ())) if env.get(name)}
    for name, value in used.items():
        _check_variable(name, value)
    return used


def _missing(names: list[str]) -> InvalidEnvironment:
    return InvalidEnvironment(f"required env variables [{','.join(names)}] missing")


def _check_variable(name: str, value: str) -> None:
    if name == "CNI_CONTAINERID" and not IDENTIFIER.fullmatch(value):
        raise InvalidEnvironment(f"CNI_CONTAINERID: {shown(value)} is not a container id: {IDENTIFIER_RULE}")
    if name == "CNI_IFNAME" and not is_ifname(value):
        raise InvalidEnvironment(f"CNI_IFNAME: {shown(value)} is not an interface name: {IFNAME_RULE}")
    if name == "CNI_NETNS" and "\0" in value:  # a variable has no NUL, one that came through a socket may
        raise InvalidEnvironment(f"CNI_NETNS: {shown(value)} is not a path: it holds a NUL byte")


def is_ifname(name: str) -> bool:
    """Follow dev_valid_name() of the kernel and the colon rule of the Go library."""
    is_plain = name.isalnum()  # as nearly all are: letters and digits need no look at each of them
    if not is_plain and (name in (".", "..") or any(char in "/:\0" or char.isspace() for char in name)):
        return False
    return len(name.encode("utf-8", "surrogatepass")) <= LONGEST_IFNAME


def _args(text: str) -> dict[str, str]:
    """Read CNI_ARGS, `KEY=VALUE;…`, as runtimes really send it: any order, empty items, repeated keys.

    The last of a repeated key holds (Multus sends every K8S_* twice). Keys that we do not know are no
    error, with or without IgnoreUnknown, since we only look at those that we know. What is not
    KEY=VALUE at all is refused, unless IgnoreUnknown asks for leniency.
    """
    args: dict[str, str] = {}
    malformed: list[str] = []
    for item in filter(None, text.split(";")):
        key, equals, value = item.partition("=")
        if key and equals:
            args[key] = value
        else:
            malformed.append(item)
    if malformed and args.get("IgnoreUnknown", "").lower() not in ("1", "true"):
        raise InvalidEnvironment(f"CNI_ARGS: {shown(malformed[0])} is not KEY=VALUE")
    return args


def _network(keys: Keys) -> str:
    value = keys.value("name")
    if value is None or value.raw == "":
        raise InvalidConfig("name is missing: the network configuration must name its network")
    if not IDENTIFIER.fullmatch(value.text()):
        raise value.wrong(f"is not a network name: {IDENTIFIER_RULE}")
    return value.text()


def _cni_version(keys: Keys, command: str) -> str:
    # a configuration without a version is one of 0.1.0, which had no such key (SPEC 0.2.0)
    version = keys.text("cniVersion", "0.1.0") or "0.1.0"
    first = FIRST_VERSION.get(command, EVERY_VERSION[0])
    if version in EVERY_VERSION and EVERY_VERSION.index(version) < EVERY_VERSION.index(first):
        raise IncompatibleVersion(
            f"config version does not allow {command}", f"{command} needs {first} or newer"
        )
    if version not in SUPPORTED:
        supported = " ".join(map(shown, SUPPORTED))
        raise IncompatibleVersion(
            "incompatible CNI versions", f"config is {shown(version)}, plugin supports [{supported}]"
        )
    return version


def _prev_result(keys: Keys, command: str) -> dict[str, Any] | None:
    """Give prevResult, not yet parsed; a DEL must succeed without one, so there a bad one counts as none."""
    value = keys.value("prevResult")
    if value is None or (command == "DEL" and not isinstance(value.raw, dict)):
        return None
    return dict(value.object())


def _valid_attachments(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
    """Read the attachments that GC keeps; null is what Go makes of an empty list, absent is not."""
    name = next(filter(None, (spelling(config, key) for key in VALID_ATTACHMENTS)), None)
    if name is None:
        return None
    if config[name] is None:
        return ()
    return tuple(_attachment(item) for item in Value(name, config[name]).items())


def _attachment(item: Value) -> tuple[str, str]:
    keys = Keys(item.object(), where=item.name)
    container_id, ifname = keys.text("containerID", ""), keys.text("ifname", "")
    if not container_id or not ifname:
        raise item.wrong('is not an attachment; give {"containerID": "…", "ifname": "…"}')
    return container_id, ifname
