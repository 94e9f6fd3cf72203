"""What is known of one message, put in order: from the journal, and from state that survives a crash.

Pure. The journal is advisory and may lack what a killed gateway did last; the outbox, the record of who waits and the
dead letters do not. Where both speak, the durable state decides the outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rmb_peer.journal import CODES
from rmb_peer.local.journal_chunks import Event
from rmb_peer.local.looking import Hold, Letter, OutboxEntry, Pending

Verdict = Literal["answered", "failed", "under way", "unknown"]

_BAD = {"refused", "not-sent", "answered-error", "expired", "not-queued", "service-failed"}
_GOOD = {"answered"}
_ENDINGS = {"answered", "answered-error", "expired", "not-sent"}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a timeline.

    Attributes:
        at_s: Unix seconds; for what lies ahead a time to come.
        code: machine-readable.
        text: for people.
        details: JSON values.
        source: "journal", or "store" for what was read from durable state.
        tone: "good", "bad" or "".
    """

    at_s: float
    code: str
    text: str
    details: dict[str, Any]
    source: Literal["journal", "store"]
    tone: Literal["good", "bad", ""]


@dataclass(frozen=True, slots=True)
class Timeline:
    """All steps of one message, oldest first, and how it stands."""

    uid: str
    steps: tuple[Step, ...]
    verdict: Verdict
    summary: str


def timeline(
    uid: str,
    events: Sequence[Event],
    outbox: Sequence[OutboxEntry],
    pending: Pending,
    letters: Sequence[Letter],
    holds: Sequence[Hold],
    now_s: float,
) -> Timeline:
    """Put it together.

    Args:
        uid: of the message.
        events: what the journal has about it.
        outbox: entries that it is made of and that have not safely left.
        pending: who waits for it.
        letters: dead letters about it.
        holds: workers that have it in hand.
        now_s: Unix seconds; what is known of the present is put at this time.
    """
    steps = [_step(event) for event in events]
    noted = {event.code for event in events}
    for entry in outbox:
        if not noted & {"taken", "resumed", "reply-taken"}:
            steps.append(Step(entry.at_s, "taken", CODES["taken"], {"ref": entry.reference}, "store", ""))
        left = "in the outbox: not yet safe with a relay; goes out again after a restart"
        steps.append(Step(entry.at_s, "in-outbox", left, {"entry": entry.id}, "store", ""))
    steps += [
        Step(letter.at_s, "dead", f"dead letter: {letter.reason}", {"id": letter.id}, "store", "bad")
        for letter in letters
    ]
    for hold in holds:
        whose = (
            "a service has it in hand" if hold.alive else "a worker that is gone had it in hand: it will be tried again"
        )
        details = {"command": hold.command, "worker": hold.worker}
        steps.append(Step(now_s, "in-service", whose, details, "store", ""))
    if pending.deadline_s is not None:
        silent = list(pending.silent)
        text = f"silence of {_twins(silent)} becomes an error at this time"
        steps.append(Step(pending.deadline_s, "deadline", text, {"twins": silent}, "store", ""))
    verdict, summary = _verdict(events, bool(outbox), pending, letters)
    if holds and verdict in ("under way", "unknown"):
        verdict, summary = "under way", "a service has it in hand"
    return Timeline(uid, tuple(sorted(steps, key=lambda step: step.at_s)), verdict, summary)


def _step(event: Event) -> Step:
    tone: Literal["good", "bad", ""] = "good" if event.code in _GOOD else "bad" if event.code in _BAD else ""
    return Step(event.at_ms / 1000, event.code, CODES.get(event.code, event.code), event.fields, "journal", tone)


def _verdict(
    events: Sequence[Event], in_outbox: bool, pending: Pending, letters: Sequence[Letter]
) -> tuple[Verdict, str]:
    endings = [event for event in _without_late_copies(events) if event.code in _ENDINGS]
    failures = [event for event in endings if event.code != "answered"]
    asked = any(event.code in ("taken", "resumed") and "dst" in event.fields for event in events)
    if pending.deadline_s is not None:
        return "under way", f"waiting for {_twins(list(pending.silent))}"
    if failures or (letters and not endings):
        return "failed", _why(failures[-1]) if failures else letters[-1].reason
    if endings:
        return "answered", "everybody who was asked has answered"
    if any(event.code == "refused" for event in events):
        return "failed", _why([event for event in events if event.code == "refused"][-1])
    if in_outbox:
        return "under way", "taken, and not yet safe with a relay"
    if not events:
        return "unknown", "nothing is known of it"
    replied = [event for event in events if event.code == "reply-taken"]
    if replied:
        return "answered", "a service here answered it"
    if asked:
        return "unknown", "it has ended, and the journal does not say how"
    return "under way", CODES.get(events[-1].code, events[-1].code)


def _without_late_copies(events: Sequence[Event]) -> list[Event]:
    """A repeat that could not be sent after its destination had answered: its sender was not told of it."""
    answered: set[str] = set()
    kept = []
    for event in events:
        if event.code == "answered":
            answered.add(str(event.fields.get("source")).partition(":")[0])
        if event.code != "not-sent" or str(event.fields.get("twin")) not in answered:
            kept.append(event)
    return kept


def _why(event: Event) -> str:
    why = event.fields.get("why") or event.fields.get("text")
    twin = event.fields.get("twin") or event.fields.get("source")
    whom = f" (twin {twin})" if twin else ""
    return f"{CODES[event.code]}{whom}: {why}" if why else f"{CODES[event.code]}{whom}"


def _twins(twins: list[int]) -> str:
    if not twins:
        return "nobody known"
    shown = ", ".join(map(str, twins[:10])) + (f" and {len(twins) - 10} more" if len(twins) > 10 else "")
    return f"twin{'s' if len(twins) > 1 else ''} {shown}"
