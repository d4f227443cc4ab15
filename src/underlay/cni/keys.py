"""The keys of a configuration, read with types, so that a plugin's `parse` reads as a table.

```python
ALIASES = {
    "service_hijack_subnet": ("service_cidr",),
    "migrate_route": (Alias("move_routes", {0: 1, 1: -1, 2: 0}),),
}
keys = Keys(call.config, ALIASES)
filter = keys.section("rp_filter", {"set_host": ("enabled",)})
Config(
    services=keys.cidrs("service_hijack_subnet", required="the pod reaches these through its node"),
    migrate=keys.choice("migrate_route", (-1, 0, 1), -1),
    rp_filter=filter.choice("value", (0, 1, 2), 2),
)
```

Every method raises InvalidConfig that names the key as its author wrote it, alias and case included.
JSON null counts as absent. What was never asked for is listed by `unknown()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar

from underlay.cni.document import shown, spellings
from underlay.cni.errors import InvalidConfig, UnsupportedField
from underlay.cni.value import Network, Value, same
from underlay.log import LEVELS, OLDER_LEVELS, LogOptions
from underlay.values import dataclass

D = TypeVar("D")
T = TypeVar("T")

# CNI SPEC, "Network configuration format" and "Plugin configuration objects": the runtime's, not ours
SPEC_KEYS = frozenset(
    {
        "cniversion",
        "cniversions",
        "name",
        "type",
        "plugins",
        "disablecheck",
        "disablegc",
        "loadonlyinlinedplugins",
    }
    | {"ipam", "ipmasq", "dns", "args", "capabilities", "runtimeconfig", "prevresult"}
)
LOG_OPTIONS = "log_options"  # read before a plugin is asked, so for its own Keys it is known already
SPEC_PREFIX = "cni.dev/"


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of a key whose values mean something else: `means` maps them to the key's own."""

    name: str
    means: Mapping[Any, Any]


Aliases = Mapping[str, tuple[str | Alias, ...]]
NO_ALIASES: Aliases = {}


class Keys:
    """One object of a configuration; `where` is its path, empty for the whole configuration."""

    def __init__(self, config: Mapping[str, Any], aliases: Aliases = NO_ALIASES, where: str = "") -> None:
        self._config = config
        self._aliases = aliases
        self._where = where
        self._asked: dict[str, str] = {}  # the names that were looked for, by their folded form
        self._sections: dict[str, Keys] = {}
        self._lists: dict[str, tuple[Keys, ...]] = {}

    def value(self, key: str) -> Value | None:
        """Find what is given for a key or one of its aliases; None where it is absent or null."""
        aliases = self._aliases.get(key)
        if not aliases:
            return self._written(key)
        found: tuple[Value, Value] | None = None  # as written, and in the key's own terms
        for alias in (key, *aliases):
            written = self._written(alias if isinstance(alias, str) else alias.name)
            if written is None:
                continue
            meant = written if isinstance(alias, str) else _translated(written, alias)
            if found is None:
                found = written, meant
            elif not same(found[1].raw, meant.raw):
                raise _contradiction(found[0], written)
        return found[1] if found else None

    def present(self, key: str) -> bool:
        """Say whether the key or an alias of it is given, and not null."""
        return self.value(key) is not None

    def flag(self, key: str, default: D) -> bool | D:
        """Read true or false."""
        value = self.value(key)
        return default if value is None else value.flag()

    def integer(self, key: str, default: D, low: int, high: int) -> int | D:
        """Read a whole number from `low` to `high`, both included."""
        value = self.value(key)
        return default if value is None else value.integer(low, high)

    def text(self, key: str, default: D) -> str | D:
        """Read a string."""
        value = self.value(key)
        return default if value is None else value.text()

    def duration(self, key: str, default: float) -> float:
        """Read a duration, in seconds."""
        value = self.value(key)
        return default if value is None else value.duration()

    def choice(self, key: str, values: tuple[T, ...], default: T) -> T:
        """Read one of a few values."""
        value = self.value(key)
        return default if value is None else value.one_of(values)

    def cidrs(
        self, key: str, default: tuple[Network, ...] = (), *, required: str = "", bare: bool = False
    ) -> tuple[Network, ...]:
        """Read a list of networks: host bits masked, duplicates removed, order kept.

        `required` is the reason why the key must be given (then its absence is an error); `bare`
        allows addresses without a prefix length.
        """
        value = self.value(key)
        if value is None and required:
            raise InvalidConfig(f"{self._path(key)} is missing: {required}; [] is a valid value")
        if value is None:
            return default
        return tuple(
            dict.fromkeys(item.network_or_address() if bare else item.network() for item in value.items())
        )

    def section(self, key: str, aliases: Aliases | None = None) -> Keys:
        """Read a nested object; absent or null is the empty one. Asking again gives the same section.

        Its aliases are those given, else the ones of the whole.
        """
        if key not in self._sections:
            value = self.value(key) or Value(self._path(key), {})
            inner = self._aliases if aliases is None else aliases
            self._sections[key] = Keys(value.object(), inner, value.name)
        return self._sections[key]

    def sections(self, key: str, aliases: Aliases = NO_ALIASES) -> tuple[Keys, ...]:
        """Read a list of objects; absent or null is the empty list. Asking again gives the same sections."""
        if key not in self._lists:
            value = self.value(key)
            items = () if value is None else value.items()
            self._lists[key] = tuple(Keys(item.object(), aliases, item.name) for item in items)
        return self._lists[key]

    def unsupported(self, key: str, off: tuple[Any, ...] = ()) -> None:
        """Refuse a key that is known but not built yet, unless its value, or one of `off`, means off."""
        value = self.value(key)
        if value is None or value.is_off() or any(same(value.raw, each) for each in off):
            return
        raise UnsupportedField(
            f"{value.name}: {shown(value.raw)} is not supported yet; remove the key or switch it off"
        )

    def missing(self, key: str, why: str) -> InvalidConfig:
        """Make the error for a key that must be given; `why` ends the sentence "<key> is missing: …"."""
        return InvalidConfig(f"{self._path(key)} is missing: {why}")

    def rest(self) -> dict[str, Any]:
        """Give what was never asked for, as it is."""
        return {name: raw for name, raw in self._config.items() if name.casefold() not in self._asked}

    def unknown(self) -> list[str]:
        """Say, for a log, which keys nothing asked for, here and in the sections, and what may be meant."""
        strange = [name for name in self.rest() if self._where or not _is_read_elsewhere(name)]
        messages = [
            f"unknown key {shown(self._path(name))} is not used{self._hint(name)}" for name in strange
        ]
        inner = [*self._sections.values(), *(item for items in self._lists.values() for item in items)]
        return messages + [message for section in inner for message in section.unknown()]

    def _written(self, key: str) -> Value | None:
        folded = key.casefold()
        self._asked[folded] = key
        name = key if key in self._config else self._spellings.get(folded)
        if name is None or self._config[name] is None:
            return None
        return Value(self._path(name), self._config[name])

    @cached_property
    def _spellings(self) -> dict[str, str]:
        return spellings(self._config)

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _hint(self, name: str) -> str:
        nearest = _nearest(name, self._asked)
        return f"; did you mean {shown(self._path(nearest))}?" if nearest else ""


def log_options(keys: Keys, default_file: str) -> LogOptions:
    """Read `log_options` of a plugin's configuration: MB, days, number of rotated files (0: no limit)."""
    section = keys.section(LOG_OPTIONS)
    level = section.value("log_level")
    name = "info" if level is None else level.text().lower()
    if level is not None and name not in LEVELS and name not in OLDER_LEVELS:
        raise level.wrong(f"is not one of {', '.join(LEVELS)}")
    file = section.value("log_file")
    if file is not None and not file.text().startswith("/"):
        raise file.wrong("is not an absolute path")
    return LogOptions(
        level=OLDER_LEVELS.get(name, name),
        file=default_file if file is None else file.text(),
        max_size_mb=section.integer("log_max_size", 100, 1, 1 << 20),
        max_age_days=section.integer("log_max_age", 5, 0, 36500),
        max_count=section.integer("log_max_count", 5, 0, 10000),
    )


def _translated(written: Value, alias: Alias) -> Value:
    given = written.one_of(tuple(alias.means))
    return Value(written.name, alias.means[given])


def _contradiction(one: Value, other: Value) -> InvalidConfig:
    return InvalidConfig(
        f"{one.name} and {other.name} are two names of one key, given with different values:"
        f" {shown(one.raw)} and {shown(other.raw)}; keep one of them"
    )


def _is_read_elsewhere(name: str) -> bool:
    return name.casefold() in (*SPEC_KEYS, LOG_OPTIONS) or name.startswith(SPEC_PREFIX)


def _nearest(name: str, known: Mapping[str, str]) -> str:
    import difflib  # needed only where somebody mistyped a key, so not paid for by every call

    matches = difflib.get_close_matches(name.casefold(), list(known), n=1)
    return known[matches[0]] if matches else ""
