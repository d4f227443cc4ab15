"""Keys are read with types, and every error names the key as it was written, the value and what is right."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni.errors import CniError, InvalidConfig, UnsupportedField
from underlay.cni.keys import Alias, Aliases, Keys, log_options
from underlay.log import LogOptions

ALIASES: Aliases = {
    "services": ("service_cidr",),
    "migrate_route": (Alias("move_routes", {0: 1, 1: -1, 2: 0}),),
    "set_host": ("enabled",),
}


def keys(**config: Any) -> Keys:
    return Keys(config, ALIASES)


def complaint(read: Callable[[], object]) -> str:
    with pytest.raises(InvalidConfig) as caught:
        read()
    return caught.value.msg


A_CIDR = "is not a CIDR; give an address with a prefix length such as 10.96.0.0/12 or fd00::/108"
EITHER = "is not an address or a CIDR; give one such as 169.254.25.10 or 10.96.0.0/12"


def test_networks_of_both_families_are_read_in_order_without_duplicates_and_host_bits() -> None:
    given_list = ["10.96.0.0/12", "fd00::1/108", "10.96.0.1/12", "0.0.0.0/0"]

    assert keys(services=given_list).cidrs("services") == (
        ip_network("10.96.0.0/12"),
        ip_network("fd00::/108"),
        ip_network("0.0.0.0/0"),
    )


def test_bare_addresses_are_networks_of_one_address_where_they_are_allowed() -> None:
    given_list = ["169.254.25.10", "fd00::10", "10.0.0.0/8"]

    assert keys(services=given_list).cidrs("services", bare=True) == (
        ip_network("169.254.25.10/32"),
        ip_network("fd00::10/128"),
        ip_network("10.0.0.0/8"),
    )


BAD_CIDRS: list[tuple[Any, str]] = [
    ("10.96.0.0/12", 'services: "10.96.0.0/12" is not a list; write ["10.96.0.0/12"]'),
    ({}, "services: {} is not a list"),
    (5, "services: 5 is not a list"),
    (["10.96.0.0/12", "10.96.0.0/33"], f'services[1]: "10.96.0.0/33" {A_CIDR}'),
    (["10.96.0.0"], f'services[0]: "10.96.0.0" {A_CIDR}'),
    (["10.96.0.0/255.240.0.0"], f'services[0]: "10.96.0.0/255.240.0.0" {A_CIDR}'),
    (["10.96.0.0/0.15.255.255"], f'services[0]: "10.96.0.0/0.15.255.255" {A_CIDR}'),
    (["fe80::1%eth0/64"], f'services[0]: "fe80::1%eth0/64" {A_CIDR}'),
    (["10.96.0.0/"], f'services[0]: "10.96.0.0/" {A_CIDR}'),
    (["010.96.0.0/12"], f'services[0]: "010.96.0.0/12" {A_CIDR}'),
    (["10.96.0.0/12 "], f'services[0]: "10.96.0.0/12 " {A_CIDR}'),
    ([""], f'services[0]: "" {A_CIDR}'),
    ([5], f"services[0]: 5 {A_CIDR}"),
    ([None], f"services[0]: null {A_CIDR}"),
    ([["10.0.0.0/8"]], f'services[0]: ["10.0.0.0/8"] {A_CIDR}'),
]


@pytest.mark.parametrize(("value", "message"), BAD_CIDRS, ids=str)
def test_a_bad_network_is_named_with_its_place(value: Any, message: str) -> None:
    assert complaint(lambda: keys(services=value).cidrs("services")) == message


@pytest.mark.parametrize("value", ["10.0.0.0/33", "fe80::1%eth0", "host", "", "10.0.0", 5])
def test_a_bad_address_is_named_where_bare_ones_are_allowed(value: Any) -> None:
    message = complaint(lambda: keys(services=[value]).cidrs("services", bare=True))

    assert message.startswith("services[0]: ")
    assert message.endswith(EITHER)


@pytest.mark.parametrize("config", [{}, {"services": None}, {"service_cidr": None}])
def test_a_required_list_that_is_absent_is_named_with_the_reason(config: dict[str, Any]) -> None:
    message = complaint(lambda: keys(**config).cidrs("services", required="the pod reaches services by it"))

    assert message == "services is missing: the pod reaches services by it; [] is a valid value"


def test_an_empty_list_is_a_value_even_where_one_is_required() -> None:
    assert keys(services=[]).cidrs("services", required="reasons") == ()


def test_an_absent_list_is_the_default() -> None:
    assert keys().cidrs("services") == ()
    assert keys().cidrs("services", default=(ip_network("10.0.0.0/8"),)) == (ip_network("10.0.0.0/8"),)


def test_absent_and_null_values_are_the_default() -> None:
    for empty in (keys(), keys(mtu=None, skip=None, name=None, migrate_route=None, rp_filter=None)):
        assert empty.integer("mtu", 1500, 68, 65535) == 1500
        assert empty.integer("mtu", None, 68, 65535) is None
        assert empty.flag("skip", False) is False
        assert empty.text("name", "x") == "x"
        assert empty.choice("migrate_route", (-1, 0, 1), -1) == -1
        assert empty.section("rp_filter").choice("value", (0, 1, 2), 2) == 2
        assert not empty.present("mtu")


def test_values_are_read_with_their_types() -> None:
    full = keys(mtu=9000, skip=True, name="", migrate_route=0)

    assert full.integer("mtu", 1500, 68, 65535) == 9000
    assert full.flag("skip", False) is True
    assert full.text("name", "x") == ""
    assert full.choice("migrate_route", (-1, 0, 1), -1) == 0
    assert full.present("mtu")


BAD_INTEGERS: list[tuple[Any, str]] = [
    (67, "mtu: 67 is out of range; give 68 to 65535"),
    (65536, "mtu: 65536 is out of range; give 68 to 65535"),
    ("1500", 'mtu: "1500" is a string, not a whole number; write 1500 without quotes'),
    ("big", 'mtu: "big" is a string, not a whole number; give 68 to 65535'),
    (1500.0, "mtu: 1500.0 is not a whole number; give 68 to 65535"),
    (True, "mtu: true is not a whole number; give 68 to 65535"),
    ([1500], "mtu: [1500] is not a whole number; give 68 to 65535"),
]


@pytest.mark.parametrize(("value", "message"), BAD_INTEGERS, ids=str)
def test_a_bad_number_is_named_with_what_is_right(value: Any, message: str) -> None:
    assert complaint(lambda: keys(mtu=value).integer("mtu", 1500, 68, 65535)) == message


BAD_FLAGS: list[tuple[Any, str]] = [
    ("true", 'skip: "true" is not true or false; write true without quotes'),
    ("yes", 'skip: "yes" is not true or false'),
    (1, "skip: 1 is not true or false"),
    (0, "skip: 0 is not true or false"),
    ({}, "skip: {} is not true or false"),
]


@pytest.mark.parametrize(("value", "message"), BAD_FLAGS, ids=str)
def test_a_bad_flag_is_named_with_what_is_right(value: Any, message: str) -> None:
    assert complaint(lambda: keys(skip=value).flag("skip", False)) == message


BAD_CHOICES: list[tuple[Any, str]] = [
    (2, "migrate_route: 2 is not one of -1, 0, 1"),
    (True, "migrate_route: true is not one of -1, 0, 1"),
    (1.0, "migrate_route: 1.0 is not one of -1, 0, 1"),
    ("1", 'migrate_route: "1" is not one of -1, 0, 1; write 1 without quotes'),
    ("auto", 'migrate_route: "auto" is not one of -1, 0, 1'),
]


@pytest.mark.parametrize(("value", "message"), BAD_CHOICES, ids=str)
def test_a_bad_choice_is_named_with_the_choices(value: Any, message: str) -> None:
    assert complaint(lambda: keys(migrate_route=value).choice("migrate_route", (-1, 0, 1), -1)) == message


def test_a_choice_of_strings_shows_them_in_quotes() -> None:
    message = complaint(lambda: keys(mode="x").choice("mode", ("auto", "off"), "auto"))

    assert message == 'mode: "x" is not one of "auto", "off"'


def test_a_bad_string_is_named() -> None:
    assert complaint(lambda: keys(name=5).text("name", "")) == "name: 5 is not a string"


def test_a_long_value_is_shortened_in_the_message() -> None:
    message = complaint(lambda: keys(name=["x" * 1000]).text("name", ""))

    assert len(message) < 160
    assert message.endswith("... is not a string")


def test_a_key_is_named_as_its_author_wrote_it() -> None:
    assert complaint(lambda: keys(MTU="x").integer("mtu", 0, 0, 9)).startswith('MTU: "x" ')
    assert complaint(lambda: keys(Service_CIDR=5).cidrs("services")) == "Service_CIDR: 5 is not a list"


def test_an_alias_is_read_like_the_key() -> None:
    assert keys(service_cidr=["10.0.0.0/8"]).cidrs("services") == (ip_network("10.0.0.0/8"),)
    assert keys(service_cidr=[]).present("services")


def test_the_values_of_an_alias_are_translated() -> None:
    for old, new in ((0, 1), (1, -1), (2, 0)):
        assert keys(move_routes=old).choice("migrate_route", (-1, 0, 1), -1) == new


@pytest.mark.parametrize(
    ("value", "shown"), [(5, "5"), (-1, "-1"), (True, "true"), ("1", '"1"'), ([], "[]"), ({}, "{}")]
)
def test_a_bad_value_of_an_alias_is_explained_in_its_own_values(value: Any, shown: str) -> None:
    message = complaint(lambda: keys(move_routes=value).choice("migrate_route", (-1, 0, 1), -1))

    assert message.startswith(f"move_routes: {shown} is not one of 0, 1, 2")


def test_a_key_and_its_alias_may_say_the_same() -> None:
    both = keys(services=["10.0.0.0/8"], service_cidr=["10.0.0.0/8"], migrate_route=0, move_routes=2)

    assert both.cidrs("services") == (ip_network("10.0.0.0/8"),)
    assert both.choice("migrate_route", (-1, 0, 1), -1) == 0


def test_a_key_and_its_alias_that_disagree_are_both_named() -> None:
    assert complaint(lambda: keys(services=[], service_cidr=["::/0"]).cidrs("services")) == (
        "services and service_cidr are two names of one key, given with different values:"
        ' [] and ["::/0"]; keep one of them'
    )
    assert complaint(
        lambda: keys(migrate_route=0, move_routes=0).choice("migrate_route", (-1, 0, 1), -1)
    ) == (
        "migrate_route and move_routes are two names of one key, given with different values:"
        " 0 and 0; keep one of them"
    )


def test_a_null_alias_does_not_disagree() -> None:
    assert keys(services=["::/0"], service_cidr=None).cidrs("services") == (ip_network("::/0"),)


def test_a_value_of_a_section_is_named_with_its_path() -> None:
    section = keys(rp_filter={"value": "2"}).section("rp_filter")

    assert complaint(lambda: section.choice("value", (0, 1, 2), 2)) == (
        'rp_filter.value: "2" is not one of 0, 1, 2; write 2 without quotes'
    )


def test_a_section_has_the_aliases_of_the_whole_or_its_own() -> None:
    config = {"rp_filter": {"enabled": False}}

    assert keys(**config).section("rp_filter").flag("set_host", True) is False
    assert Keys(config).section("rp_filter", {"on": ("enabled",)}).flag("on", True) is False
    assert keys(**config).section("rp_filter", {}).flag("set_host", True) is True


def test_a_section_that_is_no_object_is_refused() -> None:
    assert complaint(lambda: keys(rp_filter=2).section("rp_filter")) == (
        "rp_filter: 2 is not an object; write { … }"
    )


def test_a_list_of_sections_names_the_place_of_each() -> None:
    one, two = keys(ips=[{"mtu": 1}, {"mtu": "x"}]).sections("ips")

    assert one.integer("mtu", 0, 0, 9) == 1
    assert complaint(lambda: two.integer("mtu", 0, 0, 9)).startswith('ips[1].mtu: "x" ')
    assert keys(ips=None).sections("ips") == ()
    assert complaint(lambda: keys(ips=[5]).sections("ips")) == "ips[0]: 5 is not an object; write { … }"


def test_unknown_keys_are_named_with_the_nearest_known_one() -> None:
    strange = keys(servce_cidr=[], Mtuu=1, nothing_like_it=1, rp_filter={"valeu": 1})
    strange.cidrs("services")
    strange.integer("mtu", 0, 0, 9)
    strange.section("rp_filter").integer("value", 0, 0, 9)

    assert strange.unknown() == [
        'unknown key "servce_cidr" is not used; did you mean "service_cidr"?',
        'unknown key "Mtuu" is not used; did you mean "mtu"?',
        'unknown key "nothing_like_it" is not used',
        'unknown key "rp_filter.valeu" is not used; did you mean "rp_filter.value"?',
    ]


def test_keys_that_were_asked_for_and_those_of_the_specification_are_not_unknown() -> None:
    spec: dict[str, Any] = {
        name: {"anything": 1}
        for name in ("cniVersion", "CNIVersion", "name", "type", "ipam", "dns", "args", "runtimeConfig")
    }
    spec |= {"capabilities": {}, "prevResult": {}, "cni.dev/valid-attachments": [], "log_options": {}}
    known = keys(**spec, MTU=1, service_cidr=[])
    known.integer("mtu", 0, 0, 9)
    known.cidrs("services")

    assert known.unknown() == []


def test_a_key_of_the_specification_is_unknown_inside_a_section() -> None:
    outer = keys(rp_filter={"name": "x"})
    outer.section("rp_filter")

    assert outer.unknown() == ['unknown key "rp_filter.name" is not used']


OFF: list[Any] = [None, "", False, 0, [], {}, {"enabled": False}, {"Enabled": False, "interval": "1s"}]
ON: list[Any] = [True, 1, "0a:1b", ["x"], {"enabled": True}, {"enabled": 0}, {"interval": "1s"}]


@pytest.mark.parametrize("value", OFF, ids=str)
def test_a_key_that_is_not_built_may_be_switched_off(value: Any) -> None:
    keys(ip_conflict=value).unsupported("ip_conflict")


@pytest.mark.parametrize("value", ON, ids=str)
def test_a_key_that_is_not_built_is_refused_and_never_ignored(value: Any) -> None:
    with pytest.raises(UnsupportedField, match=r"^ip_conflict: .* is not supported yet; remove the key"):
        keys(ip_conflict=value).unsupported("ip_conflict")


def test_a_key_that_is_not_built_may_have_its_own_words_for_off() -> None:
    keys(mode="disable").unsupported("mode", off=("disable", "disabled"))
    with pytest.raises(UnsupportedField):
        keys(mode=True).unsupported("mode", off=(1,))


def test_a_refused_key_is_shown_with_its_value() -> None:
    with pytest.raises(UnsupportedField) as caught:
        keys(ip_conflict={"enabled": True}).unsupported("ip_conflict")

    assert (caught.value.code, caught.value.msg) == (
        2,
        'ip_conflict: {"enabled": true} is not supported yet; remove the key or switch it off',
    )


def test_log_options_have_the_documented_defaults() -> None:
    assert log_options(keys(), "/var/log/x.log") == LogOptions(
        level="info", file="/var/log/x.log", max_size_mb=100, max_age_days=5, max_count=5
    )


def test_log_options_are_read() -> None:
    given_options = {
        "log_level": "debug",
        "log_file": "/tmp/a.log",  # noqa: S108  # a text, never opened
        "log_max_size": 1,
        "log_max_age": 0,
        "log_max_count": 9,
    }

    assert log_options(keys(log_options=given_options), "/x") == LogOptions("debug", "/tmp/a.log", 1, 0, 9)  # noqa: S108


@pytest.mark.parametrize(
    ("name", "level"),
    [("warning", "warn"), ("WARN", "warn"), ("fatal", "error"), ("panic", "error"), ("Debug", "debug")],
)
def test_levels_of_the_older_plugins_are_taken(name: str, level: str) -> None:
    assert log_options(keys(log_options={"log_level": name}), "/x").level == level


BAD_LOG_OPTIONS: list[tuple[Any, str]] = [
    ("debug", 'log_options: "debug" is not an object; write { … }'),
    ({"log_level": "loud"}, 'log_options.log_level: "loud" is not one of debug, info, warn, error'),
    ({"log_level": 5}, "log_options.log_level: 5 is not a string"),
    ({"log_file": "a.log"}, 'log_options.log_file: "a.log" is not an absolute path'),
    ({"log_max_size": 0}, "log_options.log_max_size: 0 is out of range; give 1 to 1048576"),
]


@pytest.mark.parametrize(("value", "message"), BAD_LOG_OPTIONS, ids=str)
def test_bad_log_options_are_named(value: Any, message: str) -> None:
    assert complaint(lambda: log_options(keys(log_options=value), "/x")) == message


NAMES = ("services", "service_cidr", "migrate_route", "move_routes", "rp_filter", "log_options")
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["10.0.0.0/8", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
READERS: list[Callable[[Keys, str], object]] = [
    lambda keys, key: keys.cidrs(key),
    lambda keys, key: keys.cidrs(key, bare=True, required="it is"),
    lambda keys, key: keys.flag(key, False),
    lambda keys, key: keys.integer(key, None, 0, 9),
    lambda keys, key: keys.text(key, ""),
    lambda keys, key: keys.choice(key, (0, 1, "1"), 0),
    lambda keys, key: keys.present(key),
    lambda keys, key: keys.section(key).unknown(),
    lambda keys, key: keys.sections(key),
    lambda keys, key: keys.unsupported(key),
    lambda keys, _: log_options(keys, "/x"),
    lambda keys, _: keys.unknown(),
]


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, ANYTHING))
    | st.dictionaries(st.text(), ANYTHING),
    st.sampled_from(NAMES),
    st.sampled_from(READERS),
)
def test_no_value_raises_anything_but_an_error_of_cni(
    config: dict[str, Any], key: str, read: Callable[[Keys, str], object]
) -> None:
    code = None
    try:
        read(keys(**config), key)
    except CniError as error:
        code = error.code

    assert code in (None, 2, 7)
