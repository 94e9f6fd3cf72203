"""Notes about messages: cheap, bounded, and never in the way of a message."""

import os
import time

import pytest

from rmb_peer import journal as journal_module
from rmb_peer.journal import CODES, Journal, named
from rmb_peer.local.journal_chunks import unpack
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.queues import JournalFailed, JournalLimits

LIMITS = JournalLimits(10**6, 3600)


def queues() -> MemoryQueues:
    return MemoryQueues(now=time.monotonic, random_bytes=os.urandom)


async def test_notes_are_written_in_batches() -> None:
    """Many notes, few chunks, nothing missing, in order."""
    store, journal = queues(), Journal(LIMITS, lambda: 12.3456)
    for number in range(journal_module.CHUNK_EVENTS_MAX + 1):
        journal.note(f"u{number}", "taken", ref=None)
    await journal.flush(store)
    events = [event for chunk in store.journal for event in unpack(chunk) or ()]
    assert len(store.journal) == 2
    assert [event.uid for event in events] == [f"u{n}" for n in range(journal_module.CHUNK_EVENTS_MAX + 1)]
    assert (events[0].at_ms, events[0].code, events[0].fields) == (12345, "taken", {"ref": None})


async def test_without_a_journal_notes_are_counted() -> None:
    """0 bytes: nothing is kept or written, and the numbers are there all the same."""
    store, journal = queues(), Journal(JournalLimits(0, 3600))
    journal.note("u", "taken")
    journal.note("u", "refused", why="because")
    await journal.flush(store)
    assert store.journal == []
    assert journal.counts == {"taken": 1, "refused": 1}
    assert journal.last_error is not None
    assert journal.last_error[1] == "because"


async def test_pending_notes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit all are kept; beyond it the oldest go, and are counted."""
    monkeypatch.setattr(journal_module, "PENDING_EVENTS_MAX", 3)
    store, journal = queues(), Journal(LIMITS)
    for number in range(3):
        journal.note(str(number), "taken")
    assert journal.dropped == 0
    journal.note("3", "taken")
    assert journal.dropped == 1
    await journal.flush(store)
    assert [event.uid for event in unpack(store.journal[0]) or ()] == ["1", "2", "3"]


async def test_a_store_that_does_not_take_them_is_no_obstacle(caplog: pytest.LogCaptureFixture) -> None:
    """The notes are dropped and counted, with one line in the log; later ones are written."""

    class Refusing(MemoryQueues):
        refuses = True

        async def append_journal(self, chunk: bytes, limits: JournalLimits, now_s: float) -> None:
            if self.refuses:
                raise JournalFailed("full")
            await super().append_journal(chunk, limits, now_s)

    store, journal = Refusing(now=time.monotonic, random_bytes=os.urandom), Journal(LIMITS)
    for _ in range(2):
        journal.note("lost", "taken")
        await journal.flush(store)
    assert journal.dropped == 2
    assert caplog.text.count("the journal cannot be written") == 1
    store.refuses = False
    journal.note("kept", "taken")
    await journal.flush(store)
    assert [event.uid for event in unpack(store.journal[0]) or ()] == ["kept"]


async def test_what_others_choose_is_cut() -> None:
    """A uid of a megabyte does not fill the journal."""
    store, journal = queues(), Journal(LIMITS)
    journal.note("u" * 10**6, "received", source="7:" + "s" * 10**6)
    await journal.flush(store)
    events = unpack(store.journal[0])
    assert events
    event = events[0]
    assert len(event.uid) == len(event.fields["source"]) == journal_module.TEXT_CHARS_MAX


def test_many_destinations_are_named_by_number() -> None:
    """At the limit all are named; beyond it the rest is counted."""
    full = tuple(range(journal_module.NAMED_MAX))
    assert named(full) == list(full)
    assert named((*full, 99)) == [*full, "and 1 more"]


def test_every_code_says_something() -> None:
    """Codes are machine-readable, texts are for people."""
    assert all(code == code.lower() and " " not in code and " " in f"{text} " for code, text in CODES.items())
