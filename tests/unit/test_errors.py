"""Errors are what a person reads first: their codes and their JSON are fixed."""

from __future__ import annotations

import pytest

from underlay.cni import errors
from underlay.cni.errors import CniError, Drift, Internal, InvalidConfig, as_json

CODES = {
    "IncompatibleVersion": 1,
    "UnsupportedField": 2,
    "UnknownContainer": 3,
    "InvalidEnvironment": 4,
    "IoFailure": 5,
    "DecodingFailure": 6,
    "InvalidConfig": 7,
    "InvalidNetns": 8,
    "TryAgainLater": 11,
    "NotAvailable": 50,
    "LimitedConnectivity": 51,
    "KernelError": 100,
    "Drift": 101,
    "Conflict": 102,
    "Internal": 999,
}


def test_every_error_has_the_code_of_the_table_and_no_other_exists() -> None:
    assert {kind.__name__: kind.code for kind in CniError.__subclasses__()} == CODES


@pytest.mark.parametrize("name", CODES)
def test_every_error_says_whose_fault_it_is(name: str) -> None:
    docstring = getattr(errors, name).__doc__

    assert docstring.partition(":")[2], "the docstring reads 'who: what, and what to do'"


def test_an_error_is_its_message() -> None:
    error = InvalidConfig("mtu: 7 is out of range", "give 68 to 65535")

    assert str(error) == "mtu: 7 is out of range"
    assert (error.msg, error.details) == ("mtu: 7 is out of range", "give 68 to 65535")


def test_json_has_all_four_members_even_without_details() -> None:
    assert as_json(InvalidConfig("name is missing"), "1.0.0") == {
        "cniVersion": "1.0.0",
        "code": 7,
        "msg": "name is missing",
        "details": "",
    }


def test_what_went_wrong_while_undoing_follows_the_details() -> None:
    error = Drift("2 objects are missing", "see `ip rule`")
    error.add_note("and a route could not be removed")
    error.add_note("nor a rule")

    assert (
        as_json(error, "1.1.0")["details"] == "see `ip rule`; and a route could not be removed; nor a rule"
    )


def test_a_note_alone_is_the_details() -> None:
    error = Drift("1 object is missing")
    error.add_note("the record could not be read")

    assert as_json(error, "1.1.0")["details"] == "the record could not be read"


def test_an_unforeseen_exception_is_named_with_its_text_and_line_but_no_traceback() -> None:
    def divide() -> None:
        1 // 0  # noqa: B018  # for its exception

    with pytest.raises(ZeroDivisionError) as caught:
        divide()
    error = Internal.of(caught.value)

    assert error.code == 999
    assert error.msg == "unforeseen ZeroDivisionError: integer division or modulo by zero"
    assert error.details.startswith("raised by divide, test_errors.py line ")
    assert "\n" not in error.details


def test_an_exception_without_text_or_traceback_is_named_all_the_same() -> None:
    error = Internal.of(KeyError())

    assert (error.msg, error.details) == ("unforeseen KeyError", "")


def test_notes_of_an_unforeseen_exception_are_kept() -> None:
    exception = OSError("disk full")
    exception.add_note("while writing the record")

    assert as_json(Internal.of(exception), "1.0.0")["details"] == "while writing the record"
