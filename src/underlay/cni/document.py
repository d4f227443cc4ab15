"""JSON documents as CNI plugins receive them, read with Go's rules.

Runtimes and the plugins before us are written in Go, whose decoder matches keys without regard to
case (`CNIVersion` for `cniVersion`). Configurations that rely on it exist, so we look up the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from underlay.cni.errors import DecodingFailure

LONGEST = 120  # characters of a value in a message: enough to recognise it


def decode(stdin: bytes) -> dict[str, Any]:
    """Read a network configuration; DecodingFailure unless it is UTF-8, valid JSON and an object."""
    if not stdin.strip():
        raise DecodingFailure("the network configuration on standard input is empty")
    try:
        document = DECODER.decode(stdin.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DecodingFailure("the network configuration is not valid UTF-8", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DecodingFailure("the network configuration is not valid JSON", str(error)) from error
    if not isinstance(document, dict):
        raise DecodingFailure(f"the network configuration is not a JSON object: {shown(document)}")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def spelling(document: Mapping[str, Any], key: str) -> str | None:
    """Give the key as the document spells it: exactly, else in another case; None if absent."""
    return key if key in document else spellings(document).get(key.casefold())


def spellings(document: Mapping[str, Any]) -> dict[str, str]:
    """Give the keys by their folded form; where two differ in case only, the last one."""
    return {name.casefold(): name for name in document}


def get(document: Mapping[str, Any], key: str) -> Any:
    """Look a key up, exactly, else in another case; None where it is absent or JSON null."""
    found = spelling(document, key)
    return None if found is None else document[found]


def shown(value: Any) -> str:
    """Show a value in a message: as the user wrote it in JSON, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=not _is_printable(value))
    except RecursionError:
        return "(a value too deep to show)"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _is_printable(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()
