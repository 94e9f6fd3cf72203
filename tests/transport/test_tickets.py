"""Tickets: which relay is shown which, and what a file may hold."""

import logging
from pathlib import Path

import pytest

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.transport.tickets import FILE_BYTES_MAX, TICKET_CHARS_MAX, TICKET_VARIABLE, Tickets, check_ticket
from tests.support.relay import LogLines

ONE, TWO = "wss://relay.test", "wss://other.test:8443"


def test_one_relay(tmp_path: Path) -> None:
    """The ticket alone will do."""
    path = tmp_path / "ticket"
    path.write_text("# mine\n s3cret \n")
    assert Tickets(path, [ONE]).of(ONE) == "s3cret"


def test_several_relays(tmp_path: Path) -> None:
    """Each is shown its own and no other; one without has none."""
    path = tmp_path / "tickets"
    path.write_text("Relay.test a # the first\nother.test:8443 b\n")
    tickets = Tickets(path, [ONE, TWO])
    assert (tickets.of(ONE), tickets.of(TWO), tickets.of("wss://third.test")) == ("a", "b", None)


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the file would hold; a file wins."""
    monkeypatch.setenv(TICKET_VARIABLE, "from-environment")
    assert Tickets(None, [ONE]).of(ONE) == "from-environment"
    (tmp_path / "ticket").write_text("from-file")
    assert Tickets(tmp_path / "ticket", [ONE]).of(ONE) == "from-file"
    monkeypatch.setenv(TICKET_VARIABLE, "")
    assert Tickets(None, [ONE, TWO]).of(ONE) is None


def test_a_new_ticket_is_used(tmp_path: Path) -> None:
    """The file is read for each attempt; while it cannot be read the last ticket counts."""
    path = tmp_path / "ticket"
    path.write_text("old")
    tickets = Tickets(path, [ONE])
    path.write_text("new")
    assert tickets.of(ONE) == "new"
    path.unlink()
    with LogLines("rmb.link") as lines:
        assert tickets.of(ONE) == "new"
    assert lines.named("ticket cannot be read again, the last one is used")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"geheim", "line 1: expected the name of a relay and its ticket, as HOST[:PORT] TICKET"),
        (b"\nrelay.test geheim geheim", "line 2: expected"),
        (b"relay.test geheim\xc3\xa4", "line 1: a ticket is at most 512 ASCII characters"),
        (b"\xff geheim", "is not text"),
        (b"#" * (FILE_BYTES_MAX + 1), "is larger than"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, text: str) -> None:
    """The line is named, and the ticket is not shown."""
    path = tmp_path / "tickets"
    path.write_bytes(data)
    with pytest.raises(BadRequest) as error:
        Tickets(path, [ONE, TWO])
    assert text in str(error.value)
    assert "geheim" not in str(error.value).replace(str(path), "")


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """The gateway does not start without what it was told to use."""
    with pytest.raises(BadRequest, match=r"cannot read the ticket file .*No such file"):
        Tickets(tmp_path / "none", [ONE])


def test_the_edge_of_tickets() -> None:
    """As long as relays read, no line breaks."""
    assert check_ticket("x" * TICKET_CHARS_MAX)
    for ticket in ("", "x" * (TICKET_CHARS_MAX + 1), "a\nb", "\u00e4"):
        with pytest.raises(BadRequest, match="at most 512 ASCII"):
            check_ticket(ticket)


@pytest.mark.parametrize(
    ("url", "warned"),
    [("ws://relay.test", True), ("wss://relay.test", False), ("ws://127.0.0.1:80", False), ("ws://localhost", False)],
)
def test_a_ticket_in_the_clear_is_warned_about(tmp_path: Path, url: str, warned: bool) -> None:
    """Without TLS, and not on this machine."""
    path = tmp_path / "ticket"
    path.write_text("geheim")
    with LogLines("rmb.link") as lines:
        Tickets(path, [url])
    assert [line["level"] for line in lines.lines] == [logging.WARNING] * warned
    assert "geheim" not in str(lines.lines)
