"""The documents say what the code does: keys, defaults, numbers and errors are compared, examples read."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from ipaddress import ip_address, ip_interface
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, TypeVar

import pytest

from tests.repo.tree import ROOT
from tests.unit import test_router as router
from tests.unit.refusals import BLUE, joining, refusals
from tests.unit.test_veth import IPV4, NIC, SUBNETS, planned
from tests.unit.test_vxlan import LAN
from underlay.claims import claim_route
from underlay.cni import errors
from underlay.cni.call import SUPPORTED
from underlay.cni.document import shown
from underlay.cni.errors import CniError
from underlay.cni.keys import NO_ALIASES, Alias, Aliases, Keys, log_options
from underlay.cni.logs import LOGS
from underlay.cni.plugin import Attachment, ChainedPlugin, MainPlugin, Membership, MetaPlugin
from underlay.cni.probing import Patience, Probing, refuse_conflict, refuse_silent_gateways
from underlay.cni.result import IpConfig, Result
from underlay.cni.value import Network, Value
from underlay.log import LEVELS, LogOptions
from underlay.networks.conflist import read_conflist
from underlay.networks.manifests import definitions_in
from underlay.objects import IP, Ns
from underlay.oneshot import STATE, answer
from underlay.plugins import PLUGINS
from underlay.plugins.routetable import OF_MAIN
from underlay.plugins.vxlan_config import parse as parse_networks
from underlay.plugins.vxlan_options import Device

D = TypeVar("D")
T = TypeVar("T")

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.conflist"))
MANIFESTS = sorted((ROOT / "docs/examples").glob("*.yaml"))
REFERENCE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
JOURNEYS = (ROOT / "docs/how-a-packet-travels.md").read_text(encoding="utf-8")
NOTHING = "\N{EN DASH}"
SHARED = "Keys of both"
PLUGIN = "PLUGIN"  # what the reference writes for the name of either


class Row(NamedTuple):
    """What the reference says of a key, and what the code does with it."""

    aliases: str
    default: str
    allowed: str


class Recorder(Keys):
    """An empty configuration that notes how it is asked, in the words of the reference."""

    def __init__(
        self, aliases: Aliases = NO_ALIASES, where: str = "", rows: dict[str, Row] | None = None
    ) -> None:
        super().__init__({}, aliases, where)
        self.aliases = aliases
        self.prefix = f"{where}." if where else ""
        self.rows: dict[str, Row] = {} if rows is None else rows

    def note(self, key: str, default: str, allowed: str) -> None:
        names = [name_of(alias) for alias in self.aliases.get(key, ())]
        self.rows[self.prefix + key] = Row(", ".join(names) or NOTHING, default, allowed)

    def value(self, key: str) -> Value | None:
        if self.prefix + key not in self.rows:
            self.note(key, "", "")  # whoever asks for the bare value checks it himself
        return None

    def flag(self, key: str, default: D) -> bool | D:
        self.note(key, code(default), "`true`, `false`")
        return default

    def integer(self, key: str, default: D, low: int, high: int) -> int | D:
        fits = isinstance(default, int) and low <= default <= high
        self.note(key, code(default) if fits else "", f"`{low}` to `{high}`")
        return default

    def choice(self, key: str, values: tuple[T, ...], default: T) -> T:
        self.note(key, code(default), ", ".join(map(code, values)))
        return default

    def cidrs(
        self, key: str, default: tuple[Network, ...] = (), *, required: str = "", bare: bool = False
    ) -> tuple[Network, ...]:
        self.note(key, "required" if required else "`[]`", "CIDRs, addresses" if bare else "CIDRs")
        return default

    def text(self, key: str, default: D) -> str | D:
        self.note(key, f"`{default}`" if default else "", "")  # what is a good one, words say
        return default

    def duration(self, key: str, default: float) -> float:
        self.note(key, f"`{default:g}s`", "")
        return default

    def section(self, key: str, aliases: Aliases | None = None) -> Recorder:
        return Recorder(self.aliases if aliases is None else aliases, self.prefix + key, self.rows)

    def sections(self, key: str, aliases: Aliases = NO_ALIASES) -> tuple[Keys, ...]:
        self.note(key, "`[]`", "")
        return (Item(aliases, self.prefix + key, self.rows),)


class Item(Recorder):
    """One object of a list, with a good value for each key that it needs."""

    GOOD: ClassVar[Mapping[str, Any]] = {
        "dst": "192.0.2.0/24",
        "gw": "192.0.2.1",
        "name": "blue",
        "id": 1,
        "cidr": "192.0.2.0/25",  # has `gw` in it, and is not `dst`
        "peers": [],
    }

    def value(self, key: str) -> Value | None:
        self.note(key, "", "")
        return Value(self.prefix + key, self.GOOD[key]) if key in self.GOOD else None


def code(value: object) -> str:
    return f"`{shown(value)}`"


def name_of(alias: str | Alias) -> str:
    if isinstance(alias, str):
        return f"`{alias}`"
    meanings = ", ".join(f"`{theirs}` is `{ours}`" for theirs, ours in alias.means.items())
    return f"`{alias.name}` ({meanings})"


def asked(plugin: str) -> Recorder:
    """All that a plugin's `parse` and the log read, with the defaults that only `log_options` knows."""
    keys = Recorder(PLUGINS[plugin].aliases)
    PLUGINS[plugin].parse(keys)
    options: LogOptions = log_options(keys, f"{LOGS}/{plugin}.log")
    levels = ", ".join(f"`{level}`" for level in LEVELS)
    keys.rows["log_options.log_level"] = Row(NOTHING, f"`{options.level}`", levels)
    keys.rows["log_options.log_file"] = Row(NOTHING, f"`{options.file}`", "an absolute path")
    return keys


def section_of(text: str, title: str) -> str:
    """A section with its sub-sections."""
    level = re.search(rf"(?m)^(#+) {re.escape(title)}$", text)
    assert level, f"no section {title}"
    rest = text[level.end() :]
    end = re.search(rf"(?m)^#{{1,{len(level[1])}}} ", rest)
    return rest[: end.start()] if end else rest


def tables(text: str) -> dict[str, list[str]]:
    """The rows of all tables whose first cell is code, by that cell, with the other cells."""
    rows = re.findall(r"(?m)^\| `([^`|]+)` \|(.*)\|$", text)
    return {first: [cell.strip() for cell in rest.split(" | ")] for first, rest in rows}


def documented(plugin: str) -> dict[str, Row]:
    """The keys of a plugin's own section; and those of both, if it says that it has them."""
    own = section_of(section_of(REFERENCE, f"`{plugin}`"), "Keys")
    found = tables(own)
    if f"](#{slug(SHARED)})" in own:
        found |= tables(section_of(REFERENCE, SHARED))
    return {key: Row(*(cell.replace(PLUGIN, plugin) for cell in cells[:3])) for key, cells in found.items()}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_reference_has_the_keys_that_the_code_asks_for_and_no_others(plugin: str) -> None:
    assert sorted(documented(plugin)) == sorted(asked(plugin).rows)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_aliases_defaults_and_allowed_values_are_those_of_the_code(plugin: str) -> None:
    said = documented(plugin)

    for key, row in asked(plugin).rows.items():
        for cell, wanted in zip(said[key], row, strict=True):
            if wanted:
                assert (key, cell) == (key, wanted)
            else:  # what the code can't tell is said in words, never as a value: "that of the NIC"
                assert (key, bool(cell), "`" in cell) == (key, True, False)


OPTION = "vxlans.options."


def device_with(option: str, value: str) -> Device:
    options = {option: value} if option else {}
    (network,) = parse_networks(Keys({"vxlans": [BLUE | {"options": options}]})).networks
    return replace(network.device, is_port_given=False)


def options_in_words() -> dict[str, Row]:
    return {key.removeprefix(OPTION): row for key, row in documented("vxlan").items() if OPTION in key}


def test_the_defaults_of_the_options_of_vxlan_are_those_of_the_code() -> None:
    defaults = {name: row.default for name, row in options_in_words().items()}
    said = {name: default for name, default in defaults.items() if re.fullmatch(r"\d+|true|false", default)}

    assert said
    assert {
        name for name, default in said.items() if device_with(name, default) != device_with("", "")
    } == set()


def test_the_ranges_of_the_options_of_vxlan_are_those_of_the_code() -> None:
    ranges = {name: row.allowed for name, row in options_in_words().items() if " to " in row.allowed}

    assert ranges
    for name, allowed in ranges.items():
        with pytest.raises(CniError, match=f"is not a whole number from {allowed}$"):
            device_with(name, "-1")


def test_every_error_code_has_its_row() -> None:
    classes = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, CniError)
    ]
    codes = {str(each.code): each.__name__ for each in classes if each is not CniError}
    listed = tables(section_of(REFERENCE, "Error codes"))

    assert {number: cells[0].strip("`") for number, cells in listed.items()} == codes


def quoted() -> dict[str, list[str]]:
    return tables(section_of(REFERENCE, "Common errors"))


WRONG: list[dict[str, Any]] = [
    {"service_hijack_subnet": None},
    {"service_hijack_subnet": ["10.96.0.0/33"]},
    {"service_hijack_subnet": "10.96.0.0/12"},
    {"service_cidr": ["10.112.0.0/12"]},
    {"overlay_hijack_subnet": ["10.6.0.0/24"]},
    {"migrate_route": 2},
    {"rp_filter": {"value": "2"}},
    {"host_rule_table": 254},
    {"mac_prefix": "0a:1b:2c"},
    {"mac_prefix": "0b:1b"},
    {"only_op_mac": True},
    {"ip_conflict": {"enabled": True, "interval": 1}},
    {"policy_routes": [{"dst": "192.0.2.0/24", "gw": "fd00::1"}]},
    {"policy_routes": [{"dst": "2001:db8::/32"}]},
    {"policy_routes": [{"dst": "0.0.0.0/0"}]},
]


@pytest.mark.parametrize("wrong", WRONG, ids=json.dumps)
def test_the_messages_that_the_reference_quotes_are_those_of_the_code(wrong: dict[str, Any]) -> None:
    error = refusal(wrong)

    assert error.msg in quoted()
    assert quoted()[error.msg][0] == str(error.code)


def refusal(wrong: dict[str, Any]) -> CniError:
    with pytest.raises(CniError) as caught:
        planned(SUBNETS | wrong, IPV4)
    return caught.value


class Occupied:
    """A LAN on which somebody has every address, and no gateway is there."""

    def holder_of(self, ns: Ns, dev: str, addresses: tuple[IP, ...], patience: Patience) -> tuple[IP, str]:
        return addresses[0], "02:00:00:00:00:99"

    def silent_gateways(self, dev: str, gateways: Mapping[IP, IP | None], patience: Patience) -> list[IP]:
        return list(gateways)

    def announce(self, dev: str, mac: str, addresses: tuple[IP, ...]) -> None:
        """Nobody listens."""


def other_refusals() -> Iterator[CniError]:
    """Errors that come from elsewhere than the keys that both plugins have."""
    strange = replace(router.IN_POD, other=replace(router.OVERLAY, link=NIC, host_end=None))
    absent = replace(router.IN_POD, other=None)
    for config, facts in (
        ({"overlay_interface": "net1"}, router.IN_POD),
        ({}, absent),
        ({}, strange),
    ):
        with pytest.raises(CniError) as caught:
            router.planned(SUBNETS | config, IPV4, facts)
        yield caught.value
    patience, own = Patience(1.0, 3), ip_address("10.6.0.9")
    probing = Probing("eth0", (own,), {ip_address("10.6.0.1"): own}, patience, patience)
    for refuse in (refuse_conflict, refuse_silent_gateways):
        with pytest.raises(CniError) as caught:
            refuse(probing, Occupied())
        yield caught.value


def test_the_messages_from_elsewhere_are_quoted_too() -> None:
    found = {error.msg: str(error.code) for error in (*other_refusals(), *refusals())}

    assert {msg: code_beside(msg) for msg in found} == found


def code_beside(msg: str) -> str:
    """The code that the reference gives to a message; "" where it has none that fits."""
    fitting = [cells[0] for shown, cells in quoted().items() if re.fullmatch(pattern_of(shown), msg)]
    return "".join(dict.fromkeys(fitting))


def pattern_of(shown: str) -> str:
    """An ellipsis stands for names and numbers of a real node."""
    return ".+".join(map(re.escape, shown.split("\N{HORIZONTAL ELLIPSIS}")))


def test_a_chain_without_prev_result_gets_the_message_that_is_quoted() -> None:
    variables = {"COMMAND": "ADD", "CONTAINERID": "c0ffee", "NETNS": "/none", "IFNAME": "eth0", "PATH": "/"}
    config = {"cniVersion": "1.0.0", "name": "lan", "log_options": {"log_file": os.devnull}} | SUBNETS

    printed: list[dict[str, Any] | None] = []
    env = {f"CNI_{name}": value for name, value in variables.items()}
    code = answer("veth", env, json.dumps(config).encode(), printed.append)

    (error,) = printed
    assert error
    assert (code, error["code"]) == (1, 7)
    assert error["msg"] in quoted()


def test_nothing_is_quoted_that_no_test_has_seen() -> None:
    """But for messages with names and numbers of a real node, which have an ellipsis."""
    seen = {error.msg for error in (*map(refusal, WRONG), *other_refusals(), *refusals())}
    whole = {msg for msg in quoted() if "\N{HORIZONTAL ELLIPSIS}" not in msg}

    assert {msg for msg in whole - seen if not msg.startswith("prevResult is missing")} == set()


def listed_plugins(path: Path) -> list[dict[str, Any]]:
    network = json.loads(path.read_text(encoding="utf-8"))
    assert network["cniVersion"] in SUPPORTED
    assert re.fullmatch(r"[a-z0-9-]+", network["name"])
    plugins: list[dict[str, Any]] = network["plugins"]
    return plugins


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_chain_that_we_understand_whole(path: Path) -> None:
    first, *chained = listed_plugins(path)

    assert isinstance(PLUGINS.get(first["type"]), MainPlugin | MetaPlugin | None)
    assert all(isinstance(PLUGINS[each["type"]], ChainedPlugin) for each in chained)
    assert [each for each in (first, *chained) if ours_in(each)]
    for each in (first, *chained):
        assert_is_understood(each)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_definition_is_one_that_we_understand_whole(path: Path) -> None:
    (definition,) = definitions_in(path.read_text(encoding="utf-8"), str(path))
    chain = read_conflist(definition.config, path.name, definition.name, "1.0.0")

    assert set(chain.types) & {*PLUGINS}
    for each in chain.plugins:
        assert_is_understood(each)


def ours_in(config: Mapping[str, Any]) -> str:
    """The plugin of ours that reads it: the one that it is for, or the IPAM plugin of a foreign one."""
    kind, ipam = config.get("type", ""), config.get("ipam", {}).get("type", "")
    return kind if kind in PLUGINS else ipam if ipam in PLUGINS else ""


def assert_is_understood(config: Mapping[str, Any]) -> None:
    name = ours_in(config)
    if not name:
        return
    read = config if config.get("type") == name else {key: config.get(key) for key in ("ipam", *OF_MAIN)}
    keys = Keys(read, PLUGINS[name].aliases)
    assert PLUGINS[name].parse(keys) is not None or config.get("skip_call")
    log_options(keys, "")
    assert keys.unknown() == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_json_in_the_pages_is_json_and_ours_is_understood(path: Path) -> None:
    for block in re.findall(r"(?ms)^```json\n(.*?)^```$", path.read_text(encoding="utf-8")):
        document = json.loads(block)
        for config in document.get("plugins", [document]):
            assert_is_understood(config)


def test_the_plugin_that_the_guide_builds_does_what_its_tests_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (ROOT / "docs/writing-a-plugin.md").read_text(encoding="utf-8")
    plugin, tests = re.findall(r"(?ms)^```python\n(.*?)^```$", guide)
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    loaded("underlay.plugins.detour", plugin, tmp_path, monkeypatch)
    sentences = vars(loaded("test_detour", tests, tmp_path, monkeypatch))

    checks = [check for name, check in sentences.items() if name.startswith("test_")]
    assert len(checks) == 3
    for check in checks:
        check()


def loaded(name: str, text: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of that name with that text, until the end of the test."""
    path = directory / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_named_in_the_reference() -> None:
    assert [path.name for path in (*EXAMPLES, *MANIFESTS) if f"examples/{path.name}" not in REFERENCE] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_has_a_place_still_to_be_filled(path: Path) -> None:
    assert "<!--" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_inside_the_repository_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)]+)\)", path.read_text(encoding="utf-8"))

    assert [target for target in targets if not is_there(path, target)] == []


def is_there(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    if not file.exists():
        return False
    return not anchor or anchor in map(slug, headings(file))


def headings(page: Path) -> Iterable[str]:
    without_code = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    return re.findall(r"(?m)^#+ (.+)$", without_code)


def slug(heading: str) -> str:
    """The anchor that forges make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_numbers_of_the_journeys_are_those_of_the_code() -> None:
    plans = {dev: str(planned(SUBNETS, IPV4, ifname=dev)) for dev in ("eth0", "net1", "lan0")}
    tables_of = {dev: only(r"from 10\.6\.0\.9 lookup (\d+)", text) for dev, text in plans.items()}
    host_end, pod_end = re.findall(r"(?:link add|peer name) (\S+)", plans["eth0"])
    in_force = [
        only(r"proto (\d+)", plans["eth0"]),
        only(r"host:.* route add 10\.6\.0\.9/32 .*table (\d+)", plans["eth0"]),
        only(r"from all lookup \d+ priority (\d+)", plans["eth0"]),
        only(r"from 10\.6\.0\.9 lookup \d+ priority (\d+)", plans["eth0"]),
        tables_of["eth0"],
        tables_of["net1"],
        str(int(tables_of["lan0"]) - NIC.index),
        pod_end,
        str(len(host_end.removeprefix("veth"))),
        *in_force_of_vxlan(),
    ]
    said = [row.rpartition("| ")[2].strip(" |") for row in rows_of(section_of(JOURNEYS, "Numbers in force"))]

    assert said == [", ".join(f"`{value}`" for value in value.split()) for value in in_force]


def in_force_of_vxlan() -> list[str]:
    way, pod = joining(), Attachment("c0ffee", "eth0", "networks", "")
    plan = way.node(LAN, (ip_interface("10.66.0.7/24"),))
    nic, _ = way.nic(pod, Result(ips=(IpConfig(ip_interface("10.66.0.9/24")),)), Membership((), plan))
    node = str(plan)
    return [
        only(r"proto (\d+)", str(claim_route(ip_address("10.66.0.9"), "mv_blue"))),
        " ".join(re.findall(r"link add (\w+_)blue", node)),
        only(r"address (..):", f"{node}\n{nic}"),
        str(int(only(r"lookup (\d+)", node)) - BLUE["id"]),
        only(r"priority (\d+)", node),
        only(r"dstport (\d+)", node),
    ]


def only(pattern: str, text: str) -> str:
    (found,) = set(re.findall(pattern, text))
    return str(found)


def rows_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def test_the_files_that_the_reference_names_are_where_the_code_looks() -> None:
    assert f"`{STATE}/" in REFERENCE
    assert f"`{LOGS}/{PLUGIN}.log`" in REFERENCE
    assert "`UNDERLAY_STATE`" in REFERENCE
