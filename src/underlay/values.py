"""Dataclasses that cost less: in all but two things `underlay.values.dataclass` is the standard library's.

`frozen=True` is what mypy holds everybody to, and nobody at run time: an ADD makes hundreds of values, and
one that is frozen at run time takes twice as long to make, and so does its class, which every process that
starts pays for. And one `__repr__` serves all classes, instead of one that is compiled for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(cls=None, /, *, frozen=False, **options):
        """As that of the standard library; what is frozen can be hashed."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, **options)
        cls.__repr__ = _shown
        return dataclasses.dataclass(**{"repr": False, "unsafe_hash": frozen, **options})(cls)

    def _shown(value):
        shown = (
            f"{field.name}={getattr(value, field.name)!r}"
            for field in dataclasses.fields(value)
            if field.repr
        )
        return f"{type(value).__qualname__}({', '.join(shown)})"


__all__ = ["dataclass"]
