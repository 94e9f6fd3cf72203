"""Who may sign in: open, by list, by ticket; and what the files may hold."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.admission import (
    FILE_BYTES_MAX,
    TICKETS_MAX,
    Admission,
    AdmissionFileBad,
    Admitted,
    hash_of,
    parse_twin,
    read_admission,
)
from relay.switch import Refusal

TICKET = "3f1c0ffee"


def refused(answer: Admitted | Refusal) -> str:
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.code, answer.retry_after_ms) == ("not_admitted", 403, 60_000)
    return answer.text


def test_open() -> None:
    """Everybody, with a ticket or without."""
    assert Admission().admit(7, None) == Admission().admit(7, "x") == Admitted()
    assert Admission().still(7, Admitted())


def test_list() -> None:
    """Those on it; the others are told whom to ask. A ticket is no help."""
    rule = Admission("list", frozenset({7}), (hash_of(TICKET),))
    assert rule.admit(7, None) == Admitted()
    assert refused(rule.admit(8, TICKET)) == "twin 8 is not on the list of this relay: ask its operator to be added"
    assert rule.still(7, Admitted()) and not rule.still(8, Admitted())


def test_ticket() -> None:
    """A known ticket, or a place on the list; the others are told what to do, and never see a ticket again."""
    rule = Admission("ticket", frozenset({9}), (hash_of("other"), hash_of(TICKET)))
    assert rule.admit(7, TICKET) == Admitted(hash_of(TICKET))
    assert rule.admit(9, None) == Admitted()
    assert "--relay-ticket-file" in refused(rule.admit(7, None))
    text = refused(rule.admit(7, TICKET + "x"))
    assert text.startswith("this ticket is not known") and TICKET not in text
    assert refused(rule.admit(7, hash_of(TICKET).hex())) == text


def test_a_ticket_that_was_taken_back() -> None:
    """Whoever came in with it is not admitted any more; whoever came in with another one is."""
    before = Admission("ticket", frozenset(), (hash_of("a"), hash_of("b")))
    after = Admission("ticket", frozenset(), (hash_of("b"),))
    with_a, with_b = before.admit(7, "a"), before.admit(8, "b")
    assert isinstance(with_a, Admitted) and isinstance(with_b, Admitted)
    assert not after.still(7, with_a)
    assert after.still(8, with_b)
    assert Admission("ticket", frozenset({7}), ()).still(7, with_a)
    assert not after.still(9, Admitted())


def test_files(tmp_path: Path) -> None:
    """One per line, with comments; the output of sha256sum as it is; flags and file together."""
    twins, tickets = tmp_path / "twins", tmp_path / "tickets"
    twins.write_text("# ours\n7\n\n  8  # the second one\n")
    digest = hashlib.sha256(TICKET.encode()).hexdigest()
    tickets.write_text(f"{digest}  -\n{digest.upper()} # again\n")
    assert read_admission("ticket", frozenset({1}), twins, tickets) == Admission(
        "ticket", frozenset({1, 7, 8}), (hash_of(TICKET),)
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("7\nseven\n", r"line 2: 'seven' is no twin id: expected one per line"),
        ("0", "'0' is no twin id"),
        ("4294967296", "'4294967296' is no twin id"),
        ("\udcff", "is not text"),
    ],
)
def test_bad_lists(tmp_path: Path, text: str, problem: str) -> None:
    """The line is named."""
    path = tmp_path / "twins"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AdmissionFileBad, match=problem):
        read_admission("list", frozenset(), path, None)


@pytest.mark.parametrize("line", [TICKET, "x" * 64, "ab" * 31])
def test_bad_tickets(tmp_path: Path, line: str) -> None:
    """Who writes the ticket itself into the file is told how to hash it, without showing it."""
    path = tmp_path / "tickets"
    path.write_text(line)
    with pytest.raises(AdmissionFileBad, match=r"line 1 does not begin with the SHA-256 .*sha256sum") as error:
        read_admission("ticket", frozenset(), None, path)
    assert line not in str(error.value).removeprefix(str(path))


def test_limits_of_files(tmp_path: Path) -> None:
    """A file that is missing, too large, or full of tickets."""
    path = tmp_path / "file"
    with pytest.raises(AdmissionFileBad, match=r"cannot read .*No such file"):
        read_admission("list", frozenset(), path, None)
    digests = [hash_of(str(n)).hex() for n in range(TICKETS_MAX + 1)]
    path.write_text("\n".join(digests[:-1]))
    assert len(read_admission("ticket", frozenset(), None, path).tickets) == TICKETS_MAX
    path.write_text("\n".join(digests))
    with pytest.raises(AdmissionFileBad, match="at most 10000 are possible"):
        read_admission("ticket", frozenset(), None, path)
    path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(AdmissionFileBad, match="is larger than"):
        read_admission("list", frozenset(), path, None)


@given(st.text(st.characters(exclude_categories=())))
def test_any_ticket(ticket: str) -> None:
    """No ticket that somebody presents makes it fail, and none but the right one opens."""
    rule = Admission("ticket", frozenset(), (hash_of(TICKET),))
    if any("\ud800" <= char < "\udc80" or "\udcff" < char <= "\udfff" for char in ticket):
        return  # no header decodes to these
    assert isinstance(rule.admit(7, ticket), Admitted) is (ticket == TICKET)


@given(st.text(max_size=12))
def test_any_twin_id(text: str) -> None:
    """A number that is one, or an error that says so."""
    try:
        assert 0 < parse_twin(text) < 2**32
    except ValueError as error:
        assert "is no twin id" in str(error)
