"""A Markdown table that reads well as text, too."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int]) -> str:
    """`words` are the columns that hold no numbers. A column of zeros and nothing else is left out; where
    there is no row, the answer is ""."""
    columns = list(zip(*rows, strict=True))
    aligned = [
        _column(name, cells, is_text=at in words)
        for at, (name, cells) in enumerate(zip(head, columns, strict=True) if columns else ())
        if any(cell not in ("", "0") for cell in cells)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in zip(*aligned, strict=True))


def _column(name: str, cells: Sequence[str], *, is_text: bool) -> list[str]:
    width = max(map(len, (name, *cells)))
    rule = "-" * width if is_text else f"{'-' * (width - 1)}:"
    return [cell.ljust(width) if is_text else cell.rjust(width) for cell in (name, rule, *cells)]
