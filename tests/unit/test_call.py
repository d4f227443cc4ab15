"""Every bad environment and every bad standard input, with the exact code and message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni.call import SUPPORTED, Call, about, get, read_call, stated_version
from underlay.cni.errors import CniError

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c0ffee",
    "CNI_NETNS": "/var/run/netns/cni-1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
    "CNI_ARGS": "K8S_POD_NAME=web;IgnoreUnknown=1",
}
CONFIG = {"cniVersion": "1.1.0", "name": "lan", "type": "veth", "prevResult": {"cniVersion": "1.1.0"}}
VERBS = ("ADD", "CHECK", "DEL", "GC", "STATUS")
NOT_AN_ID = 'letters, digits, "_", "." and "-", starting with a letter or a digit'
NOT_A_NIC = 'at most 15 bytes without white space, "/" or ":", and not "." or ".."'


def call(env: Mapping[str, str | None] | None = None, **config: Any) -> Call:
    """Read a good call, changed by some variables (None: unset) and keys."""
    variables = {name: value for name, value in {**ENV, **(env or {})}.items() if value is not None}
    return read_call(variables, json.dumps({**CONFIG, **config}).encode())


def refusal(env: Mapping[str, str | None] | None = None, **config: Any) -> tuple[int, str]:
    with pytest.raises(CniError) as caught:
        call(env, **config)
    return caught.value.code, caught.value.msg


def test_a_good_call_is_read_with_types() -> None:
    assert call() == Call(
        command="ADD",
        container_id="c0ffee",
        netns="/var/run/netns/cni-1",
        ifname="eth0",
        path=("/opt/cni/bin", "/usr/lib/cni"),
        args={"K8S_POD_NAME": "web", "IgnoreUnknown": "1"},
        config=CONFIG,
        cni_version="1.1.0",
        network="lan",
        prev_result={"cniVersion": "1.1.0"},
        valid_attachments=None,
    )


ALL = {name: None for name in ENV if name != "CNI_COMMAND"}
MISSING = [
    ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
    ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
    ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
    ("GC", "CNI_PATH"),
    ("STATUS", "CNI_PATH"),
]


@pytest.mark.parametrize(("verb", "names"), MISSING)
def test_all_missing_variables_are_named_in_one_error(verb: str, names: str) -> None:
    expected = 4, f"required env variables [{names}] missing"

    assert refusal({**ALL, "CNI_COMMAND": verb}) == expected
    assert refusal({**dict.fromkeys(ALL, ""), "CNI_COMMAND": verb}) == expected


def test_only_the_missing_variables_are_named() -> None:
    env = {"CNI_NETNS": None, "CNI_PATH": ""}

    assert refusal(env) == (4, "required env variables [CNI_NETNS,CNI_PATH] missing")


@pytest.mark.parametrize("verb", [None, ""])
def test_a_missing_command_is_named(verb: str | None) -> None:
    assert refusal({"CNI_COMMAND": verb}) == (4, "required env variables [CNI_COMMAND] missing")


@pytest.mark.parametrize("verb", ["X", "add", "ADD ", "DELETE"])
def test_an_unknown_command_is_refused(verb: str) -> None:
    assert refusal({"CNI_COMMAND": verb}) == (4, f'unknown CNI_COMMAND: "{verb}"')


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL"])
@pytest.mark.parametrize("value", ["-a", ".a", "_a", "a/b", "a b", "a\n", "ü", "../x", "a:b"])
def test_a_container_id_outside_the_rule_is_refused(verb: str, value: str) -> None:
    code, msg = refusal({"CNI_COMMAND": verb, "CNI_CONTAINERID": value})

    shown = json.dumps(value, ensure_ascii=False)
    assert (code, msg) == (4, f"CNI_CONTAINERID: {shown} is not a container id: {NOT_AN_ID}")


@pytest.mark.parametrize("value", ["a", "0", "a_b.c-d", "A" * 200])
def test_a_container_id_inside_the_rule_is_taken(value: str) -> None:
    assert call({"CNI_CONTAINERID": value}).container_id == value


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL"])
@pytest.mark.parametrize(
    "value", [".", "..", "a/b", "a:b", "a b", "a\t", "abcdefghijklmnop", "üüüüüüüü", "eth0\u00a0", "eth0\0"]
)
def test_an_interface_name_that_the_kernel_refuses_is_refused(verb: str, value: str) -> None:
    code, msg = refusal({"CNI_COMMAND": verb, "CNI_IFNAME": value})

    assert code == 4
    assert msg.startswith("CNI_IFNAME: ")
    assert msg.endswith(f" is not an interface name: {NOT_A_NIC}")


@pytest.mark.parametrize("value", ["eth0", "lan0", "abcdefghijklmno", "üü", "a.100", "..."])
def test_an_interface_name_that_the_kernel_takes_is_taken(value: str) -> None:
    assert call({"CNI_IFNAME": value}).ifname == value


def test_a_namespace_path_with_a_nul_byte_is_refused() -> None:
    assert refusal({"CNI_NETNS": "/run/\0"}) == (
        4,
        'CNI_NETNS: "/run/\\u0000" is not a path: it holds a NUL byte',
    )


@pytest.mark.parametrize("netns", [None, ""])
def test_del_needs_no_namespace_but_uses_one_that_is_given(netns: str | None) -> None:
    assert call({"CNI_COMMAND": "DEL", "CNI_NETNS": netns}).netns == ""
    assert call({"CNI_COMMAND": "DEL"}).netns == "/var/run/netns/cni-1"


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_variables_that_a_verb_does_not_use_are_neither_checked_nor_kept(verb: str) -> None:
    env = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "/",
        "CNI_IFNAME": "a b",
        "CNI_NETNS": "x",
        "CNI_ARGS": "x",
    }
    got = call(env)

    assert (got.container_id, got.ifname, got.netns, got.args) == ("", "", "", {})


def test_empty_directories_of_the_path_are_left_out() -> None:
    assert call({"CNI_PATH": ":/opt/cni/bin::/usr/lib/cni:"}).path == ("/opt/cni/bin", "/usr/lib/cni")


ARGS = [
    ("", {}),
    ("A=1;B=2", {"A": "1", "B": "2"}),
    (";A=1;;B=2;", {"A": "1", "B": "2"}),
    ("A=", {"A": ""}),
    ("A=1=2", {"A": "1=2"}),
    ("A=1;A=1;IgnoreUnknown=1", {"A": "1", "IgnoreUnknown": "1"}),
    ("A=1;A=2", {"A": "2"}),
    ("nonsense;IgnoreUnknown=1", {"IgnoreUnknown": "1"}),
    ("IgnoreUnknown=true;=x;A=1", {"IgnoreUnknown": "true", "A": "1"}),
    ("SOMETHING_NEW=1", {"SOMETHING_NEW": "1"}),
]


@pytest.mark.parametrize(("text", "args"), ARGS)
def test_args_are_read_as_runtimes_send_them(text: str, args: dict[str, str]) -> None:
    assert call({"CNI_ARGS": text}).args == args


@pytest.mark.parametrize(
    ("text", "item"), [("A", "A"), ("A=1;B", "B"), ("=1", "=1"), ("A;IgnoreUnknown=0", "A")]
)
def test_an_arg_that_is_no_pair_is_refused_unless_unknown_ones_are_ignored(text: str, item: str) -> None:
    assert refusal({"CNI_ARGS": text}) == (4, f'CNI_ARGS: "{item}" is not KEY=VALUE')


UNDECODABLE = [
    (b"", "the network configuration on standard input is empty"),
    (b" \n", "the network configuration on standard input is empty"),
    (b"{", "the network configuration is not valid JSON"),
    (b"{}}", "the network configuration is not valid JSON"),
    (b'{"name": NaN}', "the network configuration is not valid JSON"),
    (b"[" * 100_000, "the network configuration is not valid JSON"),
    (b'{"mtu": ' + b"1" * 5000 + b"}", "the network configuration is not valid JSON"),
    (b"\xef\xbb\xbf{}", "the network configuration is not valid JSON"),
    (b'{"name": "\xff"}', "the network configuration is not valid UTF-8"),
    ("{}".encode("utf-16"), "the network configuration is not valid UTF-8"),
    (b"null", "the network configuration is not a JSON object: null"),
    (b"[]", "the network configuration is not a JSON object: []"),
    (b'"lan"', 'the network configuration is not a JSON object: "lan"'),
]


@pytest.mark.parametrize(("stdin", "msg"), UNDECODABLE, ids=range(len(UNDECODABLE)))
@pytest.mark.parametrize("verb", VERBS)
def test_standard_input_that_is_no_json_object_cannot_be_decoded(verb: str, stdin: bytes, msg: str) -> None:
    with pytest.raises(CniError) as caught:
        read_call({**ENV, "CNI_COMMAND": verb}, stdin)

    assert (caught.value.code, caught.value.msg) == (6, msg)


BAD_CONFIGS: list[tuple[dict[str, Any], int, str]] = [
    ({"name": None}, 7, "name is missing: the network configuration must name its network"),
    ({"name": ""}, 7, "name is missing: the network configuration must name its network"),
    ({"name": 5}, 7, "name: 5 is not a string"),
    ({"name": "a b"}, 7, f'name: "a b" is not a network name: {NOT_AN_ID}'),
    ({"name": "lan\n"}, 7, f'name: "lan\\n" is not a network name: {NOT_AN_ID}'),
    ({"cniVersion": 1.0}, 7, "cniVersion: 1.0 is not a string"),
    ({"cniVersion": ["1.0.0"]}, 7, 'cniVersion: ["1.0.0"] is not a string'),
    ({"cniVersion": None}, 1, "incompatible CNI versions"),
    ({"cniVersion": ""}, 1, "incompatible CNI versions"),
    ({"cniVersion": "0.2.0"}, 1, "incompatible CNI versions"),
    ({"cniVersion": "1.2.0"}, 1, "incompatible CNI versions"),
    ({"cniVersion": "1.0"}, 1, "incompatible CNI versions"),
    ({"prevResult": "yes"}, 7, 'prevResult: "yes" is not an object; write { … }'),
    ({"prevResult": []}, 7, "prevResult: [] is not an object; write { … }"),
]


@pytest.mark.parametrize(("changes", "code", "msg"), BAD_CONFIGS, ids=str)
def test_a_bad_configuration_is_refused_by_key_and_value(
    changes: dict[str, Any], code: int, msg: str
) -> None:
    assert refusal(**changes) == (code, msg)


def test_the_details_of_a_version_error_say_what_is_supported() -> None:
    with pytest.raises(CniError) as caught:
        call(cniVersion="0.2.0")

    assert caught.value.details == (
        'config is "0.2.0", plugin supports ["0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]'
    )


def test_a_configuration_without_version_is_one_of_the_first_specification() -> None:
    with pytest.raises(CniError) as caught:
        read_call(ENV, b'{"name": "lan"}')

    assert caught.value.code == 1
    assert caught.value.details.startswith('config is "0.1.0", plugin supports [')


FIRST = {"ADD": "0.3.0", "DEL": "0.3.0", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_needs_a_version_that_has_it(verb: str, version: str) -> None:
    if SUPPORTED.index(version) >= SUPPORTED.index(FIRST[verb]):
        assert call({"CNI_COMMAND": verb}, cniVersion=version).cni_version == version
    else:
        expected = 1, f"config version does not allow {verb}"
        assert refusal({"CNI_COMMAND": verb}, cniVersion=version) == expected


def test_the_environment_is_judged_before_the_configuration() -> None:
    with pytest.raises(CniError) as caught:
        read_call({"CNI_COMMAND": "ADD"}, b"{")

    assert caught.value.code == 4


def test_the_name_is_judged_before_the_version() -> None:
    assert refusal(name="a b", cniVersion="9.9.9")[0] == 7


def test_keys_are_found_without_regard_to_case() -> None:
    config = {"CNIVersion": "0.4.0", "NAME": "lan", "PrevResult": {"ips": []}}
    got = read_call(ENV, json.dumps(config).encode())

    assert (got.cni_version, got.network, got.prev_result) == ("0.4.0", "lan", {"ips": []})


def test_the_exact_key_wins_over_one_in_another_case() -> None:
    assert get({"NAME": 1, "name": 2, "Name": 3}, "name") == 2
    assert get({"NAME": 1, "Name": 3}, "name") == 3
    assert get({}, "name") is None


def test_prev_result_may_be_absent_or_null() -> None:
    assert call(prevResult=None).prev_result is None
    assert read_call(ENV, b'{"cniVersion": "1.0.0", "name": "lan"}').prev_result is None


def test_del_takes_a_bad_prev_result_for_none() -> None:
    assert call({"CNI_COMMAND": "DEL"}, prevResult="broken").prev_result is None


def attachments(**config: Any) -> tuple[tuple[str, str], ...] | None:
    return call({"CNI_COMMAND": "GC"}, **config).valid_attachments


def test_gc_reads_the_attachments_to_keep() -> None:
    listed = [{"containerID": "a", "ifname": "eth0"}, {"ContainerID": "b", "IfName": "net1", "more": 1}]

    assert attachments(**{"cni.dev/valid-attachments": listed}) == (("a", "eth0"), ("b", "net1"))


def test_null_attachments_are_the_empty_list_and_absent_ones_are_not() -> None:
    assert attachments(**{"cni.dev/valid-attachments": None}) == ()
    assert attachments(**{"cni.dev/valid-attachments": []}) == ()
    assert attachments() is None


def test_the_older_key_of_the_attachments_is_read_where_the_first_is_absent() -> None:
    listed = [{"containerID": "a", "ifname": "eth0"}]

    assert attachments(**{"cni.dev/attachments": listed}) == (("a", "eth0"),)
    assert attachments(**{"cni.dev/attachments": None}) == ()
    assert attachments(**{"cni.dev/valid-attachments": None, "cni.dev/attachments": listed}) == ()


BAD_ATTACHMENTS: list[tuple[Any, str]] = [
    ({}, ": {} is not a list"),
    ("a", ': "a" is not a list; write ["a"]'),
    (["a"], '[0]: "a" is not an object; write { … }'),
    ([{"containerID": 5, "ifname": "eth0"}], "[0].containerID: 5 is not a string"),
    (
        [{"containerID": "a"}],
        '[0]: {"containerID": "a"} is not an attachment; give {"containerID": "…", "ifname": "…"}',
    ),
]


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
@pytest.mark.parametrize(("value", "complaint"), BAD_ATTACHMENTS, ids=str)
def test_malformed_attachments_are_refused_by_key_and_value(key: str, value: Any, complaint: str) -> None:
    assert refusal({"CNI_COMMAND": "GC"}, **{key: value}) == (7, f"{key}{complaint}")


def test_attachments_are_read_for_gc_alone() -> None:
    assert call(None, **{"cni.dev/valid-attachments": "anything"}).valid_attachments is None


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b'{"cniVersion": "9.9.9"}', b'{"cniVersion": []}'])
def test_version_never_fails_and_answers_with_the_newest(stdin: bytes) -> None:
    dummies = {"CNI_COMMAND": "VERSION", "CNI_NETNS": "dummy", "CNI_IFNAME": "a b", "CNI_PATH": "dummy"}

    assert read_call(dummies, stdin) == Call("VERSION", cni_version="1.1.0")


@pytest.mark.parametrize("version", SUPPORTED)
def test_version_answers_in_the_version_of_the_question(version: str) -> None:
    stdin = json.dumps({"cniVersion": version}).encode()

    assert stated_version(stdin) == version
    assert read_call({"CNI_COMMAND": "VERSION"}, stdin).cni_version == version


def test_about_names_the_plugin_and_the_versions() -> None:
    assert about("veth") == (
        "CNI plugin veth (underlay)\nCNI protocol versions supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
    )


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ANY_TEXT = st.text(st.characters())  # surrogates too: an environment may hold bytes that are not UTF-8
KEYS = ("cniVersion", "name", "prevResult", "cni.dev/valid-attachments", "cni.dev/attachments")
ANY_ENV = st.fixed_dictionaries(
    {}, optional={name: st.just(value) | ANY_TEXT for name, value in ENV.items()}
)
ANY_CONFIG = st.fixed_dictionaries({}, optional={key: st.just(CONFIG.get(key)) | ANYTHING for key in KEYS})
ANY_STDIN = st.binary() | ANY_CONFIG.map(json.dumps).map(str.encode)


@given(ANY_ENV, st.sampled_from([*VERBS, "VERSION"]), ANY_STDIN)
def test_no_input_raises_anything_but_an_error_of_cni(env: dict[str, str], verb: str, stdin: bytes) -> None:
    try:
        got: Call | CniError = read_call({**env, "CNI_COMMAND": verb}, stdin)
    except CniError as error:
        got = error

    if isinstance(got, Call):
        assert got.command == verb
        assert got.cni_version in SUPPORTED
    else:
        assert got.code in (1, 4, 6, 7)
        assert got.msg


@given(ANY_STDIN)
def test_an_error_has_a_version_whatever_the_input(stdin: bytes) -> None:
    assert stated_version(stdin) in SUPPORTED
