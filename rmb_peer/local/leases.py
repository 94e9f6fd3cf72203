"""What becomes of work that a worker left unfinished: tried again, when, or given up, and what the asker hears. Pure.

The rules hold for every worker in any language that takes work with a lease (README, "Services that may crash"). This
module refuses to know Redis and the clock; `janitor.py` carries out what is decided here.
"""

import re
from dataclasses import dataclass

from rmb_peer.local.keys import LEASE_PREFIX, lease_list
from rmb_peer.local.program_side import Request, ReturnTo, UnreadableRequest, answer_json, read_request

PAUSE_S_FIRST, PAUSE_S_MAX = 1.0, 60.0
"""Pause before the second repetition, doubled for each further one. The first repetition comes at once: most workers
die for reasons of their own, such as a deployment, and not of the message."""

TRIES_S_MIN, TRIES_S_MAX = 60, 24 * 3600
"""Bounds for how long failed tries are remembered: that long a message may live at most (`arrivals.py`)."""

GIVEN_UP = 502
"""Error code of a request that was given up. As in HTTP: who should have answered did not."""

EXPIRED = 102
"""Spec rmb 5.9."""

EXPIRED_TEXT = "request expired: the worker that had it ended, and no other finished it in time"

_NAME = re.compile(
    re.escape(LEASE_PREFIX) + r"(?P<worker>[A-Za-z0-9_.-]{1,64}):(?P<slot>[A-Za-z0-9_.-]{1,16}):(?P<command>.+)", re.S
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The name of a lease list, taken apart."""

    worker: str
    slot: str
    command: str

    @property
    def list_name(self) -> str:
        """The Redis list."""
        return lease_list(self.worker, self.slot, self.command)


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Unfinished work goes back to its queue.

    Attributes:
        uid: of the request; `None` when the entry is no request.
        sent_at_s: when it began its life, to put several in order; 0 when not known.
        tries: how many failed so far.
        pause_s: when; 0 is at once.
        remember_s: how long `tries` is worth remembering.
    """

    uid: str | None
    sent_at_s: int
    tries: int
    pause_s: float
    remember_s: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Unfinished work becomes a dead letter.

    Attributes:
        uid, sent_at_s: see `TryAgain`.
        reason: for the dead letter.
        reply_list: where the asker's error goes; "" when the entry does not say who asks.
        answer: that error.
    """

    uid: str | None
    sent_at_s: int
    reason: str
    reply_list: str
    answer: bytes


def parse_lease(name: str) -> Lease | None:
    """Read the name of a lease list; `None` when it is none."""
    match = _NAME.fullmatch(name)
    return None if match is None else Lease(match["worker"], match["slot"], match["command"])


def fate(entry: bytes, tries: int, retries_max: int, now_s: int) -> TryAgain | GiveUp:
    """What becomes of an entry that a worker left unfinished.

    Args:
        entry: as it was in the service's list; what is no request is tried again like any other.
        tries: how many workers have left it unfinished by now, from 1.
        retries_max: how many may after the first.
        now_s: Unix time.
    """
    request, return_to = _read(entry)
    uid = return_to.reference if return_to else None
    sent_at_s = request.timestamp_s if request else 0
    if request is not None and request.expired(now_s):
        return _give_up(return_to, sent_at_s, now_s, EXPIRED, EXPIRED_TEXT)
    if tries > retries_max:
        which = "a worker" if tries == 1 else f"{tries} workers, one after another,"
        text = f"given up: {which} ended without finishing the request"
        return _give_up(return_to, sent_at_s, now_s, GIVEN_UP, text)
    left_s = request.timestamp_s + request.expiration_s - now_s if request else TRIES_S_MAX
    remember_s = max(TRIES_S_MIN, min(left_s, TRIES_S_MAX))
    return TryAgain(uid, sent_at_s, tries, pause_s(tries), remember_s)


def overdue(entry: bytes, now_s: int) -> GiveUp | None:
    """The end of an entry whose life was over before its next try; `None` when it still lives."""
    request, return_to = _read(entry)
    if request is None or not request.expired(now_s):
        return None
    return _give_up(return_to, request.timestamp_s, now_s, EXPIRED, EXPIRED_TEXT)


def pause_s(tries: int) -> float:
    """Pause before the next try, after `tries` that failed."""
    return 0.0 if tries <= 1 else min(PAUSE_S_FIRST * 2.0 ** min(tries - 2, 32), PAUSE_S_MAX)


def _read(entry: bytes) -> tuple[Request | None, ReturnTo | None]:
    try:
        request = read_request(entry)
    except UnreadableRequest as error:
        return None, error.return_to
    return request, request.return_to


def _give_up(return_to: ReturnTo | None, sent_at_s: int, now_s: int, code: int, text: str) -> GiveUp:
    if return_to is None:
        return GiveUp(None, sent_at_s, text, "", b"")
    answer = answer_json(return_to, payload=b"", schema=None, now_s=now_s, error=(code, text))
    return GiveUp(return_to.reference, sent_at_s, text, return_to.reply_list, answer)
