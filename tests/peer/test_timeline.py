"""From journal and durable state to a story and a verdict."""

from collections.abc import Sequence

import pytest

from rmb_peer.local.journal_chunks import Event
from rmb_peer.local.looking import Hold, Letter, OutboxEntry, Pending
from rmb_peer.local.queues import Waiting
from rmb_peer.timeline import Timeline, timeline

NOBODY = Pending(None, None, ())
TAKEN = Event(1000, "u", "taken", {"ref": "r", "dst": [7]})
OUTBOX = OutboxEntry("1000-0", 1.0, "request", "u", "r", 10)
WAITING = Pending(Waiting("u", "r", "ret", 60, (7,)), 62.0, (7,))
LETTER = Letter("2000-0", 2.0, "request", "not JSON", b"x", "u", "")


def events(*codes: str) -> list[Event]:
    return [Event(1000 + number, "u", code, {}) for number, code in enumerate(codes)]


def story(
    notes: list[Event],
    *,
    outbox: bool = False,
    pending: Pending = NOBODY,
    letter: bool = False,
    holds: Sequence[Hold] = (),
) -> Timeline:
    return timeline("u", notes, [OUTBOX] if outbox else [], pending, [LETTER] if letter else [], holds, 90.0)


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (story([TAKEN, *events("sealed", "answered")]), "answered"),
        (story([TAKEN, *events("answered")], pending=WAITING), "under way"),
        (story([TAKEN, *events("answered", "expired")]), "failed"),
        (story([TAKEN, *events("answered-error")]), "failed"),
        (story([TAKEN, *events("not-sent")]), "failed"),
        (story(events("refused"), letter=True), "failed"),
        (story([], letter=True), "failed"),
        (story([], outbox=True), "under way"),
        (story([], pending=WAITING), "under way"),
        (story([TAKEN]), "unknown"),
        (story([]), "unknown"),
        (story(events("received", "queued")), "under way"),
        (story(events("received", "queued", "reply-taken", "sealed")), "answered"),
    ],
)
def test_verdicts(made: Timeline, verdict: str) -> None:
    """What is durable decides over what was noted; a partial failure is one."""
    assert made.verdict == verdict
    assert made.summary


def test_a_crash_without_journal_still_has_a_story() -> None:
    """Taken, in the outbox, and when silence becomes an error, in the order of time."""
    made = story([], outbox=True, pending=WAITING)
    assert [(step.code, step.source) for step in made.steps] == [
        ("taken", "store"),
        ("in-outbox", "store"),
        ("deadline", "store"),
    ]
    assert "twin 7" in made.steps[-1].text
    assert made.summary == "waiting for twin 7"


def test_what_the_journal_knows_is_not_said_twice() -> None:
    """An outbox entry adds where it is, not that it was taken."""
    made = story([TAKEN], outbox=True)
    assert [step.code for step in made.steps] == ["taken", "in-outbox"]


def test_an_unknown_code_is_shown_as_it_is() -> None:
    """A newer gateway wrote it."""
    made = story(events("from-the-future"))
    assert (made.steps[0].text, made.steps[0].tone) == ("from-the-future", "")
    assert made.verdict == "under way"


def test_who_has_it_in_hand() -> None:
    """A lease is the present: its worker is named, and the message is under way until it is answered."""
    made = story(events("received", "queued"), holds=[Hold("work", "w1", True, 3.0)])
    assert (made.steps[-1].code, made.steps[-1].details["worker"]) == ("in-service", "w1")
    assert (made.verdict, made.summary) == ("under way", "a service has it in hand")
    gone = story(events("received", "queued"), holds=[Hold("work", "w1", False, 3.0)])
    assert "tried again" in gone.steps[-1].text
    assert story(events("reply-taken"), holds=[Hold("work", "w1", True, 3.0)]).verdict == "answered"


def test_a_copy_that_could_not_be_sent_does_not_undo_an_answer() -> None:
    """A repeat may expire or be refused after the first copy was answered; then its sender heard the answer alone."""
    answered = Event(2000, "u", "answered", {"source": "7:s"})
    not_sent = Event(3000, "u", "not-sent", {"twin": 7, "why": "it expired"})
    assert story([TAKEN, answered, not_sent]).verdict == "answered"
    assert story([TAKEN, not_sent]).verdict == "failed"
    other = Event(3000, "u", "not-sent", {"twin": 8, "why": "it expired"})
    assert story([TAKEN, answered, other]).verdict == "failed"
