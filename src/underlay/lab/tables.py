"""The matrix and the cluster as tables: marks where it is narrow, the evidence where there is room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from underlay.lab.addresses import VERSIONS, Addresses, Subnets
from underlay.lab.definitions import Definition
from underlay.lab.matrix import Cell, Line
from underlay.lab.namespace import Netns
from underlay.lab.networks import Variant
from underlay.lab.nics import nics
from underlay.lab.overlay import OverlayPod
from underlay.lab.scenario import Deployment
from underlay.lab.traces import COMPARED

WIDE = 100  # columns from which there is room for the addresses that the other ends saw
NARROWEST = len("✗ no answer")  # so that two matrices have one shape


def matrix_table(lines: Sequence[Line], variant: Variant, width: int) -> Table:
    """A line for each way, a column for each family, for a console of `width` columns."""
    is_wide = width >= WIDE
    table = _table("from → to", *(["other end must see"] if is_wide else []))
    for family in ("IPv4", "IPv6"):
        table.add_column(family, min_width=NARROWEST)
    group = lines[0].row.group
    for line in lines:
        row = line.row
        if row.group != group:
            table.add_section()
        group = row.group
        marks = [_evidence(cell) if is_wide else _mark(cell) for cell in line.cells]
        styled = [Text(mark, _style(cell, variant)) for mark, cell in zip(marks, line.cells, strict=True)]
        table.add_row(row.text, *([row.seen_as] if is_wide else []), *styled)
    return table


def verdict(lines: Sequence[Line], variant: Variant) -> Text:
    """How many rows are right, and which are not as they must be in this variant."""
    right = sum(not any(cell.fault for cell in line.cells) for line in lines)
    text = Text(f"{right} of {len(lines)} rows are right with {variant.made_with}.")
    if wrong := [line.row.text for line in lines if not line.is_expected(variant)]:
        text.append(f" Not as it must be: {'; '.join(wrong)}.", "bold red")
    return text


def traces_text(left: Sequence[str]) -> Text:
    """Whether the nodes are as before, and else each thing in which they differ."""
    if not left:
        return Text.assemble(
            ("✓", "green"), f" After the last DEL the nodes are as before the first ADD: {COMPARED}."
        )
    return Text("\n".join(["✗ After the last DEL this is left on the nodes, or gone:", *left]), "bold red")


def cluster_table(here: Deployment, others: Sequence[Netns]) -> Table:
    """Every machine of the lab, by the name of its namespace; `others` are pods that no scenario has."""
    table = _table("namespace", "IPv4", "IPv6")
    for section in (_networks, _machines, _nodes, _pods, _services):
        for name, values in section(here):
            table.add_row(name, *(str(values.of(version)) for version in VERSIONS))
        table.add_section()
    _add_nics(table, others)
    return table


def nics_table(pods: Sequence[Netns]) -> Table:
    """The NICs that pods have, whoever has made them."""
    table = _table("namespace", "IPv4", "IPv6")
    _add_nics(table, pods)
    return table


def networks_table(definitions: Sequence[Definition]) -> Table:
    """What new pods may ask for."""
    table = _table("network", "what it is")
    for each in definitions:
        table.add_row(each.name, each.text)
    return table


def _add_nics(table: Table, pods: Sequence[Netns]) -> None:
    for netns in pods:
        for ifname, addresses in nics(netns).items():
            found = (addresses.get(version) for version in VERSIONS)
            table.add_row(f"{netns.name} {ifname}", *("" if each is None else str(each) for each in found))


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def _mark(cell: Cell) -> str:
    return f"✗ {cell.fault}" if cell.fault else "✓"


def _evidence(cell: Cell) -> str:
    """The mark, and as whom the other end saw the first, or why it must not have."""
    answer = next(iter(cell.answers.values()))
    return _mark(cell) if cell.fault else f"✓ {answer.seen or answer.error}"


def _style(cell: Cell, variant: Variant) -> str:
    colour = "red" if cell.fault else "green"
    return colour if cell.is_expected(variant) else f"bold reverse {colour}"


Rows = Iterable[tuple[str, Addresses | Subnets]]


def _networks(here: Deployment) -> Rows:
    for lan in (here.cluster.lan_a, here.cluster.lan_b, here.cluster.outside):
        yield lan.netns.name, lan.subnets


def _machines(here: Deployment) -> Rows:
    cluster = here.cluster
    for router in (cluster.gateway_a, cluster.gateway_b):
        yield f"{router.netns.name} eth0", router.lan.gateway
        yield f"{router.netns.name} eth1", router.outside
    for host in (cluster.client, cluster.client_b, cluster.external):
        yield f"{host.netns.name} eth0", host.addresses


def _nodes(here: Deployment) -> Rows:
    for node in here.cluster.nodes:
        for dev, addresses in node.devices.items():
            yield f"{node.netns.name} {dev}", addresses


def _pods(here: Deployment) -> Rows:
    for pod in (here.cluster.overlay1, here.cluster.overlay2, *here.scene.pods):
        if isinstance(pod, OverlayPod):
            yield f"{pod.netns.name} eth0", pod.addresses
    for nic in here.scene.nics:
        yield f"{nic.pod.netns.name} {nic.ifname}", here.end(nic.pod.name, nic.ifname).addresses


def _services(here: Deployment) -> Rows:
    for service in here.services:
        yield f"ClusterIP {service.name}", service.addresses
