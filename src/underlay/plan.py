"""A plan: the kernel objects that a plugin wants. Made true, taken back, compared with what is there.

Nothing here knows what an object is or how the kernel is reached: `Kernel` is all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from underlay.cni.errors import CniError, Conflict
from underlay.objects import MAIN, Object, Route, Rule, links_of, stands_on
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class MainDefault:
    """A NIC's claim on the default route of the pod's main table, settled with the pod's other NICs.

    `migrate` is the configuration's `migrate_route`. For most NICs: −1 the first by order keeps the
    default, 0 this one keeps it, 1 this one leaves it to any other. For one that `takes_over`: −1 it
    takes the default from those before it by order, 0 from none, 1 from all. `prefers` names the NIC
    that shall have it before all others, if it has one. The claim is made for the IP `versions`; `is_asked`
    is one that the pod itself makes, which goes before all configurations.
    """

    dev: str
    migrate: int
    takes_over: bool = False
    prefers: str = ""
    versions: tuple[int, ...] = (4, 6)
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What an attachment wants, in the order in which it can be made: links first, rules last.

    `node_rules` serve every pod of the node: they stand while their table has a route of ours.
    `reported` are the objects that the ADD of this plan adds to the result. `notes` go to the log.
    """

    present: tuple[Object, ...]
    node_rules: tuple[Rule, ...] = ()
    defaults: tuple[MainDefault, ...] = ()
    reported: tuple[Object, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple[Object, ...]:
        return self.present + self.node_rules

    def __str__(self) -> str:
        return "\n".join(map(str, self.objects))


class Added(NamedTuple):
    """An object was made that was not there."""


ADDED = Added()


class Found(NamedTuple):
    """In an object's place there is this one: an equal one or another; None when it can't be read."""

    object: Object | None


class Changed(NamedTuple):
    """A setting was changed, from this one."""

    old: Object


Outcome = Added | Found | Changed | CniError


class Kernel(Protocol):
    """The two namespaces of a call."""

    def add(self, objects: Sequence[Object]) -> list[Outcome]:
        """Makes a first run of `objects` at once; an outcome for each of the run, at least one.

        A setting that gives way may be changed at once, or be found for the caller to replace.
        """

    def replace(self, old: Object, new: Object) -> None:
        """Puts `new` in the place of `old`."""

    def remove(self, objects: Iterable[Object]) -> list[CniError]:
        """Removes all it can, in the given order; what is gone already is done. Returns the failures."""

    def restore(self, routes: Iterable[Route]) -> list[CniError]:
        """Puts routes back that were taken away, beside what is there now. Returns the failures."""

    def found(self, obj: Object) -> Object | None:
        """What stands where `obj` would: an equal object, another one, or None."""


class Applied(NamedTuple):
    """What `apply` changed: enough to take it back."""

    added: tuple[Object, ...]
    replaced: tuple[tuple[Object, Object], ...]


def apply(objects: Sequence[Object], kernel: Kernel) -> Applied:
    """Makes every object true, or leaves the kernel as it was found and raises the first error."""
    added: list[Object] = []
    replaced: list[tuple[Object, Object]] = []
    todo = list(objects)
    try:
        while todo:
            outcomes = kernel.add(todo)
            run, todo = todo[: len(outcomes)], todo[len(outcomes) :]
            if outcomes.count(ADDED) == len(outcomes):  # as nearly always
                added += run
                continue
            # A run does not stop at its first error: what was made after it is ours to take back too.
            others: list[tuple[Object, Outcome]] = []
            for obj, outcome in zip(run, outcomes, strict=True):
                if isinstance(outcome, Added):
                    added.append(obj)
                elif isinstance(outcome, Changed):
                    replaced.append((outcome.old, obj))
                else:
                    others.append((obj, outcome))
            for obj, outcome in others:
                if isinstance(outcome, CniError):
                    raise outcome
                if isinstance(outcome, Found) and outcome.object != obj:
                    old = _replaceable(outcome.object, obj)
                    replaced.append((old, obj))
                    kernel.replace(old, obj)
    except BaseException as error:
        _note_failures(error, take_back(Applied(tuple(added), tuple(replaced)), kernel))
        raise
    return Applied(tuple(added), tuple(replaced))


def take_back(applied: Applied, kernel: Kernel) -> list[CniError]:
    """Undoes what one `apply` changed; returns what could not be undone."""
    failures = []
    for old, new in reversed(applied.replaced):
        try:
            kernel.replace(new, old)
        except CniError as error:
            failures.append(error)
    return failures + kernel.remove(reversed(applied.added))


def revert(plan: Plan, keep: frozenset[Object], kernel: Kernel) -> list[CniError]:
    """Removes what a plan wanted, made or not, but for `keep`; returns the failures."""
    doomed = _without(keep, plan.present) if keep else plan.present  # to look for one is to hash it
    # What stands on a link goes with the link: one message instead of dozens.
    gone = {link for obj in doomed for link in links_of(obj)}
    return kernel.remove(obj for obj in reversed(doomed) if stands_on(obj) not in gone)


def _without(keep: frozenset[Object], objects: Iterable[Object]) -> Sequence[Object]:
    kept = {link for obj in keep for link in links_of(obj)}  # a link is the same whatever its MTU
    return [obj for obj in objects if obj not in keep and kept.isdisjoint(links_of(obj))]


def missing(objects: Iterable[Object], kernel: Kernel) -> list[tuple[Object, Object | None]]:
    """Each object that isn't there, with what stands in its place."""
    seen = [(obj, kernel.found(obj)) for obj in objects]
    return [(obj, found) for obj, found in seen if found != obj]


def gives_way(old: Object, new: Object) -> bool:
    """Whether what stands in the place of `new` may be changed into it: it is ours, or nobody's."""
    return type(old) is type(new) and old.yields_to(new)  # type: ignore[arg-type]


def _replaceable(old: Object | None, new: Object) -> Object:
    if old is not None and gives_way(old, new):
        return old
    raise Conflict(f"{new}: something else is there that is not ours", _what_is_there(old, new))


def _what_is_there(old: Object | None, new: Object) -> str:
    rule = "underlay never takes over what it did not make"
    clash = getattr(new, "clash", None)  # a link knows best what can be in its way
    if clash:
        return f"{clash(old)}; {rule}"
    if old is None:
        return f"it is of a kind that underlay can't read, such as a blackhole route; {rule}"
    if isinstance(new, Route) and new.is_default and new.table == MAIN:
        leave_it = "a pod has one default route: leave it to that NIC (default_route: false)"
        return f"there is: {old}; {leave_it}; {rule}"
    return f"there is: {old}; remove it, or give the pod another address or network; {rule}"


def _note_failures(error: BaseException, failures: Iterable[CniError]) -> None:
    for failure in failures:
        error.add_note(f"and taking it back failed: {failure.msg}")
