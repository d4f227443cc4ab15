"""One question to the Kubernetes API: an answer, or an error that says why not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

import underlay
from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.documents import UID
from tests.netns.kube_api.documents import pod as pod_document
from tests.netns.kube_api.faults import Fault, answers, breaks_off, drips, is_silent
from tests.netns.kube_api.server import METADATA_LIST, USER, KubeApi, serving
from underlay.cni.cluster import Definition, PodObject
from underlay.cni.errors import CniError, InvalidConfig, InvalidEnvironment, TryAgainLater, UnsupportedField
from underlay.kube import asked
from underlay.kube.direct import Direct
from underlay.log import Log, LogOptions

NETWORK = {"vxlan-cni.travishegner.com/NetworkName": "blue", "other.example/key": "ü\n"}
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PACKAGE_DIR = os.path.dirname(os.path.dirname(underlay.__file__))
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
JSON = "application/json"
PARTS = {"certificate": "crt", "key": "key"}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own configuration."""
    for name in (*PROXIES, *map(str.upper, PROXIES), "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api(certificates: Certificates) -> Iterator[KubeApi]:
    with serving(certificates) as api:
        api.put_pod("shop", "web-0", NETWORK)
        yield api
    for thread in threading.enumerate():
        if thread.name == "kubernetes-api":
            thread.join()


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path) -> str:
    return api.kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def service_account() -> Iterator[Path]:
    """The directory that Kubernetes mounts into a pod; ours is in the /run of the tests."""
    SERVICE_ACCOUNT.mkdir(parents=True)
    yield SERVICE_ACCOUNT
    shutil.rmtree(SERVICE_ACCOUNT.parents[1])


def cluster(kubeconfig: str, patience: float = 30) -> Direct:
    return Direct(kubeconfig, Log(LogOptions()), patience)


def read(kubeconfig: str, name: str = "web-0") -> Mapping[str, str]:
    return cluster(kubeconfig).pod("shop", name).annotations


def failure(
    kind: type[CniError], kubeconfig: str, name: str = "web-0", patience: float = 30, uid: str = ""
) -> CniError:
    with pytest.raises(kind) as caught:
        cluster(kubeconfig, patience).pod("shop", name, uid)
    assert caught.value.code == kind.code
    assert "\n" not in caught.value.msg
    return caught.value


def test_a_pod_is_the_one_of_that_name(api: KubeApi, kubeconfig: str) -> None:
    api.put_pod("shop", "web-1", {"other": "pod"})
    api.put_pod("bank", "web-0", {"other": "namespace"})

    assert cluster(kubeconfig).pod("shop", "web-0") == PodObject("shop", "web-0", UID, NETWORK)
    assert api.seen == [(USER, "GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dweb-0")]


def test_of_a_pod_the_metadata_alone_is_asked_for(api: KubeApi, kubeconfig: str) -> None:
    accepted: list[str] = []
    api.faults = [lambda request: note(request, accepted)]
    failure(TryAgainLater, kubeconfig)
    assert accepted == [f"{METADATA_LIST},application/json"]

    api.cuts_metadata = False  # as API servers do that are older than that
    assert read(kubeconfig) == NETWORK


def note(request: BaseHTTPRequestHandler, accepted: list[str]) -> None:
    """Notes what an answer may be, and gives none that is."""
    accepted.append(request.headers["Accept"])
    answers(200, "7")(request)


def test_another_pod_of_that_name_is_not_the_one_that_is_asked_for(api: KubeApi, kubeconfig: str) -> None:
    assert cluster(kubeconfig).pod("shop", "web-0", UID).uid == UID

    api.put_pod("shop", "web-0", NETWORK, uid="another")
    error = failure(TryAgainLater, kubeconfig, uid=UID)

    assert error.msg.endswith(f"the pod with uid {UID} is gone; the one of that name has uid another")


def test_a_static_pod_is_known_by_the_uid_that_its_node_gives_it(api: KubeApi, kubeconfig: str) -> None:
    api.put_pod("shop", "web-0", {"kubernetes.io/config.mirror": "c0ffee"})

    assert cluster(kubeconfig).pod("shop", "web-0", "c0ffee").uid == UID


@pytest.mark.parametrize("none", [None, {}])
def test_a_pod_without_annotations_has_none(
    api: KubeApi, kubeconfig: str, none: dict[str, str] | None
) -> None:
    api.put_pod("shop", "web-0", none)

    assert read(kubeconfig) == {}


def test_files_of_a_kubeconfig_may_be_beside_it(api: KubeApi, tmp_path: Path) -> None:
    for name in ("ca.crt", "client.crt", "client.key"):
        shutil.copy(api.certificates[name], tmp_path)
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    path = api.kubeconfig(
        tmp_path / "kubeconfig",
        user,
        **{"certificate-authority": "ca.crt", "certificate-authority-data": None},
    )

    assert read(path) == NETWORK
    assert api.seen[0][0] == "admin"


def test_a_kubeconfig_may_hold_its_certificates(api: KubeApi, tmp_path: Path) -> None:
    user = {
        f"client-{kind}-data": api.certificates.data(f"client.{suffix}") for kind, suffix in PARTS.items()
    }

    assert read(api.kubeconfig(tmp_path / "kubeconfig", user)) == NETWORK
    assert api.seen[0][0] == "admin"


@pytest.mark.parametrize("authority", ["", "eHh4"])
def test_no_key_stays_in_a_file(
    api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: str
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    user = {
        f"client-{kind}-data": api.certificates.data(f"client.{suffix}") for kind, suffix in PARTS.items()
    }
    trust = {"certificate-authority-data": authority} if authority else api.trust()
    path = api.kubeconfig(tmp_path / "kubeconfig", user, **trust)
    with pytest.raises(InvalidConfig) if authority else nullcontext():
        read(path)

    assert os.listdir(tmp_path / "tmp") == []


def test_a_server_may_go_unverified(api: KubeApi, tmp_path: Path) -> None:
    path = api.kubeconfig(tmp_path / "kubeconfig", **{"insecure-skip-tls-verify": True})

    assert read(path) == NETWORK


def test_a_token_file_is_read_at_each_call(api: KubeApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    path = api.kubeconfig(tmp_path / "kubeconfig", {"tokenFile": str(token)})
    token.write_text("t0ken\n")
    assert read(path) == NETWORK

    api.users = {"r0tated": "node"}
    token.write_text("r0tated\n")

    assert read(path) == NETWORK


def exec_plugin(directory: Path, script: str, version: str = "v1beta1") -> dict[str, Any]:
    """The user of a kubeconfig whose token a program gives."""
    program = directory / "credentials"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"exec": {"apiVersion": f"client.authentication.k8s.io/{version}", "command": str(program)}}


def test_a_program_may_give_the_token(api: KubeApi, tmp_path: Path) -> None:
    credential = {"kind": "ExecCredential", "status": {"token": "t0ken"}}
    user = exec_plugin(tmp_path, f"echo '{json.dumps(credential)}'")

    assert read(api.kubeconfig(tmp_path / "kubeconfig", user)) == NETWORK


@pytest.mark.parametrize(
    ("script", "version", "reason"),
    [
        ("echo no region >&2; exit 3", "v1beta1", "returned 3: no region"),
        ("echo hello", "v1beta1", "its exec plugin does not answer with a token"),
        ("echo '{}'", "v1beta1", "its exec plugin does not answer with a token"),
        ("echo '[]'", "v1beta1", "its exec plugin does not answer with a token"),
        ("exit 0", "v1", "api version client.authentication.k8s.io/v1 not implemented"),
    ],
)
def test_a_program_without_a_token_is_named(
    api: KubeApi, tmp_path: Path, script: str, version: str, reason: str
) -> None:
    path = api.kubeconfig(tmp_path / "kubeconfig", exec_plugin(tmp_path, script, version))
    error = failure(InvalidConfig, path)

    assert error.msg.startswith(f'kubeconfig "{path}" cannot be used: ')
    assert reason in error.msg
    assert api.seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_in_a_pod_the_service_account_is_enough(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, service_account: Path, host: str
) -> None:
    with serving(certificates, host) as api:
        api.put_pod("shop", "web-0", NETWORK)
        files = {"ca.crt": certificates["ca.crt"].read_text(), "namespace": "cni", "token": "t0ken"}
        for name, text in files.items():
            (service_account / name).write_text(text)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))

        assert read("") == NETWORK


def test_outside_of_pods_a_kubeconfig_is_needed(monkeypatch: pytest.MonkeyPatch, kubeconfig: str) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)  # of whoever started the runtime: not the plugin's
    error = failure(InvalidConfig, "")

    assert error.msg.startswith("no kubeconfig is given, and this process has no in-cluster configuration: ")
    assert "/var/run/secrets/kubernetes.io/serviceaccount/token" in error.msg
    assert "kubeconfig on this node" in error.details


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8"])
def test_the_environment_says_who_needs_no_proxy(
    monkeypatch: pytest.MonkeyPatch, kubeconfig: str, no_proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    failure(TryAgainLater, kubeconfig)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    assert read(kubeconfig) == NETWORK


def test_a_refusal_names_pod_server_reason_and_remedy(api: KubeApi, kubeconfig: str) -> None:
    asked = "reading pod shop/{}: Kubernetes API at " + api.server + ": "
    missing = failure(TryAgainLater, kubeconfig, "web-9")
    api.rights = {}
    forbidden = failure(TryAgainLater, kubeconfig)
    api.users = {}
    unknown = failure(TryAgainLater, kubeconfig)

    assert missing.msg == asked.format("web-9") + "there is no such pod"
    assert "kubeconfig leads to another cluster" in missing.details
    assert forbidden.msg == asked.format("web-0") + (
        '403 Forbidden: pods is forbidden: User "system:serviceaccount:cni:node" cannot list resource'
        ' "pods" in API group "" in the namespace "shop"'
    )
    assert 'apiGroups [""], resources ["pods"], verbs ["list"]' in forbidden.details
    assert unknown.msg == asked.format("web-0") + "401 Unauthorized: Unauthorized"
    assert "renew it" in unknown.details


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (answers(401, "<html>", "text/html"), "401 Unauthorized"),
        (answers(403, "{", JSON), "403 Forbidden"),
        (answers(404, "", ""), "404 Not Found"),
        (answers(404, '{"message": 7}', JSON), "404 Not Found"),
        (answers(429, "{}", JSON), "429 Too Many Requests"),
        (answers(307, "", ""), "307 Temporary Redirect"),
    ],
)
def test_a_refusal_by_something_else_keeps_its_status(
    api: KubeApi, kubeconfig: str, fault: Fault, reason: str
) -> None:
    api.faults = [fault]

    assert failure(TryAgainLater, kubeconfig).msg.endswith(f"{api.server}: {reason}")
    assert len(api.seen) == 1


@pytest.mark.parametrize("fault", [answers(500, "{}"), answers(503, "wait", ""), breaks_off])
def test_a_failure_of_the_server_is_asked_about_once_more(
    api: KubeApi, kubeconfig: str, fault: Fault
) -> None:
    api.faults = [fault]
    assert read(kubeconfig) == NETWORK

    api.faults = [fault, fault]
    error = failure(TryAgainLater, kubeconfig)

    assert f"reading pod shop/web-0: Kubernetes API at {api.server}: " in error.msg
    assert len(api.seen) == 4


def changed(**changes: Any) -> str:
    """A list with the one pod, and what is changed in it."""
    return as_list(pod_document("shop", "web-0", NETWORK) | changes)


def as_list(*items: Any) -> str:
    return json.dumps({"kind": "PodList", "metadata": {"resourceVersion": "81001"}, "items": items})


def test_only_what_is_needed_of_a_pod_must_be_understood(api: KubeApi, kubeconfig: str) -> None:
    api.faults = [answers(200, changed(spec={"containers": {"of": "a later API"}}, status=None))]

    assert read(kubeconfig) == NETWORK


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[]",
        "7",
        "<html>",
        changed()[:-20],
        as_list(7),
        changed(metadata=None),
        changed(metadata={"name": "web-0", "namespace": "bank"}),
        changed(metadata={"name": "web-1", "namespace": "shop"}),
        changed(metadata={"name": "web-0", "namespace": "shop", "annotations": ["blue"]}),
        changed(metadata={"name": "web-0", "namespace": "shop", "annotations": {"blue": 1}}),
    ],
)
def test_an_answer_that_is_not_the_pod_is_a_failure(api: KubeApi, kubeconfig: str, body: str) -> None:
    api.faults = [answers(200, body)]
    error = failure(TryAgainLater, kubeconfig)

    assert f"reading pod shop/web-0: Kubernetes API at {api.server}: the answer " in error.msg


@pytest.mark.parametrize("fault", [drips, is_silent])
def test_a_server_that_does_not_finish_holds_nobody_up(api: KubeApi, kubeconfig: str, fault: Any) -> None:
    api.faults = [fault(api)]
    error = failure(TryAgainLater, kubeconfig, patience=0.5)

    assert f"{api.server}: no answer within 0.5 s" in error.msg
    assert "reaches that address" in error.details


def test_a_server_that_is_not_there_is_named(api: KubeApi, tmp_path: Path) -> None:
    path = api.kubeconfig(tmp_path / "kubeconfig", server="https://127.0.0.1:1")
    error = failure(TryAgainLater, path)

    assert "reading pod shop/web-0: Kubernetes API at https://127.0.0.1:1: " in error.msg
    assert "Connection refused" in error.msg


def test_a_server_that_another_authority_vouches_for_is_not_believed(
    api: KubeApi, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Certificates(tmp_path_factory.mktemp("other"))
    trust = {"certificate-authority-data": other.data("ca.crt")}
    error = failure(TryAgainLater, api.kubeconfig(tmp_path / "kubeconfig", **trust))

    assert "certificate verify failed" in error.msg
    assert api.seen == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (r"\A.*\Z", "", "it does not have the form of a kubeconfig"),
        (r"\A.*\Z", "- a\n- b", "it does not have the form of a kubeconfig"),
        (r"\A.*\Z", "token: *t0ken", "line 1 is not YAML"),
        (r"\A.*\Z", "token: 't0ken", "line 1 is not YAML"),
        (r'"clusters": ', '"klusters": ', '"clusters" is missing'),
        (r'"current-context": "node",', "", "No current context set"),
        (r'"current-context": "node"', '"current-context": "prod"', "Context 'prod' not found"),
        (r'"cluster": "lab"', '"cluster": "prod"', '"prod" is missing'),
        (r', *"user": "cni"|"user": "cni"', "", "Missing user"),
        (r'"token": "t0ken"', '"auth-provider": {"name": "gcp"}', "auth-provider not supported"),
        (r'"token": "t0ken"', '"token": 7', "Expected `str"),
        (
            r'"token": "t0ken"',
            '"token": "t0ken\\nX-Evil: 1"',
            "its token is not one line",
        ),
        (r'"token": "t0ken"', '"tokenFile": "/nowhere/token"', "/nowhere/token not found"),
        (r'"certificate-authority-data": "[^"]*"', '"certificate-authority": "/nowhere/ca"', "No such file"),
        (r'"certificate-authority-data": "[^"]*"', '"certificate-authority-data": "eHh4"', "certificate"),
        (r'"server": "https://', '"server": "', "does not start with https://"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_named_and_its_secrets_are_not(
    api: KubeApi, kubeconfig: str, old: str, new: str, reason: str
) -> None:
    text, count = re.subn(old, lambda _: new, Path(kubeconfig).read_text(), count=1, flags=re.DOTALL)
    assert count == 1
    text = re.sub(r'"cluster": "lab",\s*}', '"cluster": "lab"}', text)
    Path(kubeconfig).write_text(text)
    error = failure(InvalidConfig, kubeconfig)

    assert error.msg.startswith(f'kubeconfig "{kubeconfig}" cannot be used: ')
    assert reason in error.msg
    assert "t0ken" not in "".join(traceback.format_exception(error)) + error.details
    assert api.seen == []


@pytest.mark.parametrize("path", ["/nowhere/kubeconfig", "/"])
def test_a_kubeconfig_that_is_no_file_is_named(path: str) -> None:
    error = failure(InvalidConfig, path)

    assert error.msg == (f'kubeconfig "{path}" cannot be used: Configuration file {path} not found')


@pytest.mark.parametrize(
    "name", ["", "*", "..", "../secrets", "web/log", "Web", "web?x=1", "web-0\n", "web%2f"]
)
def test_only_names_are_asked_for(api: KubeApi, kubeconfig: str, name: str) -> None:
    with pytest.raises(InvalidEnvironment, match=r"^CNI_ARGS: K8S_POD_NAME: "):
        cluster(kubeconfig).pod("shop", name)
    with pytest.raises(InvalidEnvironment, match=r"^CNI_ARGS: K8S_POD_NAMESPACE: "):
        cluster(kubeconfig).pod(name, "web-0")

    assert api.seen == []


CONFIG = '{"type": "macvlan"}'


def test_a_definition_is_the_one_of_that_name(api: KubeApi, kubeconfig: str) -> None:
    api.put_nad("shop", "lan", CONFIG, {"k8s.v1.cni.cncf.io/resourceName": "intel.com/vf"})
    api.put_nad("shop", "by-name", None)

    assert cluster(kubeconfig).definition("shop", "lan") == Definition(
        "shop", "lan", CONFIG, {"k8s.v1.cni.cncf.io/resourceName": "intel.com/vf"}
    )
    assert cluster(kubeconfig).definition("shop", "by-name") == Definition("shop", "by-name", "")
    assert cluster(kubeconfig).definition("bank", "lan") is None


def test_a_cluster_that_has_no_definitions_at_all_says_so(api: KubeApi, kubeconfig: str) -> None:
    api.faults = [answers(404, "404 page not found", "text/plain")]

    with pytest.raises(TryAgainLater) as caught:
        cluster(kubeconfig).definition("shop", "lan")

    assert caught.value.msg == (
        f"reading the NetworkAttachmentDefinition shop/lan: Kubernetes API at {api.server}: 404 Not Found"
    )
    assert "CustomResourceDefinition" in caught.value.details


@pytest.mark.parametrize("body", ["", "[]", '{"metadata": {"namespace": "shop", "name": "wan"}}'])
def test_an_answer_that_is_not_the_definition_is_a_failure(api: KubeApi, kubeconfig: str, body: str) -> None:
    api.faults = [answers(200, body)]

    with pytest.raises(TryAgainLater, match=r"NetworkAttachmentDefinition shop/lan: .*: the answer "):
        cluster(kubeconfig).definition("shop", "lan")


@pytest.mark.parametrize("name", ["", "..", "../secrets", "lan/x", "LAN", "lan?x=1"])
def test_only_names_of_definitions_are_asked_for(api: KubeApi, kubeconfig: str, name: str) -> None:
    for namespace, each in (("shop", name), (name, "lan")):
        with pytest.raises(InvalidConfig, match="is not the name of a NetworkAttachmentDefinition"):
            cluster(kubeconfig).definition(namespace, each)

    assert api.seen == []


STATUS = "k8s.v1.cni.cncf.io/network-status"


def test_an_annotation_is_written_beside_the_others(api: KubeApi, kubeconfig: str) -> None:
    pod = cluster(kubeconfig).pod("shop", "web-0")

    cluster(kubeconfig).annotate(pod, STATUS, "[]")

    assert api.annotations("shop", "web-0") == {**NETWORK, STATUS: "[]"}
    assert api.asked("PATCH") == ["PATCH /api/v1/namespaces/shop/pods/web-0/status?fieldManager=underlay"]


def test_another_pod_of_that_name_is_not_annotated(
    api: KubeApi, kubeconfig: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pod = cluster(kubeconfig).pod("shop", "web-0")
    api.put_pod("shop", "web-0", NETWORK, uid="another")
    cluster(kubeconfig).annotate(pod, STATUS, "[]")
    assert api.annotations("shop", "web-0") == NETWORK

    api.delete_pod("shop", "web-0")
    cluster(kubeconfig).annotate(pod, STATUS, "[]")

    assert len(api.asked("PATCH")) == 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (answers(403, "{}"), "403 Forbidden"),
        (answers(409, "{}"), "409 Conflict"),
        (is_silent, "no answer within 0.5 s"),
    ],
)
def test_an_annotation_that_cannot_be_written_fails_nothing_and_is_told(
    api: KubeApi, kubeconfig: str, capfd: pytest.CaptureFixture[str], fault: Any, why: str
) -> None:
    pod = cluster(kubeconfig).pod("shop", "web-0")
    api.faults = [fault(api) if fault is is_silent else fault]

    cluster(kubeconfig, 0.5).annotate(pod, STATUS, "[]")

    (told,) = map(json.loads, capfd.readouterr().err.splitlines())
    assert (told["event"], told["level"], told["pod"]) == ("annotation-lost", "error", "shop/web-0")
    assert told["msg"] == f"annotating pod shop/web-0: Kubernetes API at {api.server}: {why}"


def as_plugins_run(python: str, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a program as an installed plugin runs: without the interpreter's packages and settings."""
    whole = f"import sys\nsys.path.insert(0, {PACKAGE_DIR!r})\n{program}"
    return subprocess.run(
        [python, "-IS", "-c", whole, *args], env={}, cwd="/", capture_output=True, text=True, check=False
    )


ASK = """
from underlay import kube
from underlay.cni.errors import CniError
from underlay.log import Log, LogOptions
try:
    print(kube.asked(sys.argv[1], Log(LogOptions())).pod("shop", "web-0").annotations)
except CniError as error:
    print(error.code, error.msg)
"""


def test_a_process_may_ask_more_than_once(kubeconfig: str) -> None:
    for _ in range(2):
        assert asked(kubeconfig, Log(LogOptions())).pod("shop", "web-0").annotations == NETWORK


def test_a_plugin_finds_the_library_that_is_installed_with_it(kubeconfig: str) -> None:
    done = as_plugins_run(sys.executable, ASK, kubeconfig)

    assert (done.stdout, done.stderr) == (f"{NETWORK}\n", "")


ASK_IN_A_HURRY = """
import site
site.main()
from underlay.cni.errors import CniError
from underlay.kube.direct import Direct
from underlay.log import Log, LogOptions
try:
    Direct(sys.argv[1], Log(LogOptions()), 0.5).pod("shop", "web-0")
except CniError as error:
    print(error.code, error.msg)
"""


def test_a_plugin_ends_in_time_whatever_it_waits_for(api: KubeApi, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    path = api.kubeconfig(tmp_path / "kubeconfig", exec_plugin(tmp_path, f"exec cat {tmp_path}/fifo"))
    done = as_plugins_run(sys.executable, ASK_IN_A_HURRY, path)
    with open(tmp_path / "fifo", "w"):
        pass  # the program that it waited for ends

    assert done.stdout.startswith(f"{TryAgainLater.code} reading pod shop/web-0: ")
    assert "no answer within" in done.stdout
    assert done.stderr == ""


def test_a_plugin_without_the_library_says_so(kubeconfig: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = str(tmp_path / "bare/bin/python")
    done = as_plugins_run(python, ASK, kubeconfig)

    assert done.stdout.startswith(
        f"{UnsupportedField.code} the Kubernetes API is asked with Python packages that {python}"
    )
    assert done.stderr == ""


LOADED = """
heavy = {"asyncio", "concurrent", "ssl", "threading"}
print([name for name in sys.modules if name in heavy or "site-packages" in str(sys.modules[name])])
"""


@pytest.mark.parametrize("module", ["oneshot", "kube"])
def test_who_does_not_ask_does_not_pay(module: str) -> None:
    done = as_plugins_run(sys.executable, f"import underlay.{module}\n{LOADED}")

    assert (done.stdout, done.stderr) == ("[]\n", "")
