"""What is asked and what comes back, and which answer belongs to which question. Pure.

It refuses to know Redis and relays.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rmb_peer.local.json_fields import U32_MAX
from rmb_peer.protocol.errors import CommandRefused
from rmb_peer.protocol.lifetime import LIFETIME_S_MAX
from rmb_peer.protocol.names import check_command
from rmb_peer.sdk.errors import BadAnswer, CallError, NoAnswer, NotTaken, call_error
from rmb_peer.sdk.payloads import Payload, decode_json, encode

TIMEOUT_S_DEFAULT = 60.0
TIMEOUT_S_MAX = float(LIFETIME_S_MAX)
"""Gateways give no message a longer life (spec rmb 5.2)."""

DESTINATIONS_MAX = 1000
"""A guess at what is still a call and not a broadcast."""

_EMPTY = Payload(b"")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a twin answered.

    Attributes:
        twin: who.
        source: the same with its session, `<twin>` or `<twin>:<session>`.
        command: what was asked.
        payload: the bytes.
        schema: their content type, when the service said.
        seconds: how long it took.
    """

    twin: int
    source: str
    command: str
    payload: bytes
    schema: str | None
    seconds: float

    def json(self) -> Any:
        """The payload as a JSON value; an empty one is `None`.

        Raises:
            ValueError: it is no JSON.
        """
        return decode_json(self.payload)

    def text(self) -> str:
        """The payload as text.

        Raises:
            UnicodeDecodeError: it is no UTF-8.
        """
        return self.payload.decode()


Outcome = Answer | CallError
"""How a call ended."""


class Call:
    """One request, to one twin or several.

    To one twin each, every error names its twin; a request to several is smaller, but errors that gateways and relays
    make do not say which of them they are about.
    """

    __slots__ = ("command", "payload", "session", "tag", "twins")

    def __init__(
        self,
        twin: int | Sequence[int],
        command: str,
        payload: object = _EMPTY,
        *,
        tag: str | None = None,
        session: str | None = None,
    ) -> None:
        """Describe it.

        Args:
            twin: twin id, or several.
            command: such as "zos.system.version".
            payload: bytes, a `Payload`, or what JSON can hold.
            tag: of the request; "fail-fast" asks relays not to store it for a twin that is away.
            session: one of several connections of the twin; only a direct client can address one (spec rmb 5.2).

        Raises:
            ValueError: no request can be like this; the text says why.
        """
        twins = (twin,) if isinstance(twin, int) else tuple(dict.fromkeys(twin))
        if not 1 <= len(twins) <= DESTINATIONS_MAX:
            raise ValueError(f"{len(twins)} destinations: a request has 1 to {DESTINATIONS_MAX}")
        for number in twins:
            if type(number) is not int or not 1 <= number <= U32_MAX:
                raise ValueError(f"{number!r} is no twin id: expected a number from 1 to {U32_MAX}")
        try:
            check_command(command)
        except CommandRefused as error:
            raise ValueError(str(error)) from None
        (tag or "").encode()  # a UnicodeEncodeError is a ValueError
        self.twins = twins
        self.command = command
        self.payload = encode(payload)
        self.tag = tag
        self.session = session

    @classmethod
    def each(
        cls, twins: Iterable[int], commands: str | Sequence[str], payload: object = _EMPTY, *, tag: str | None = None
    ) -> "list[Call]":
        """One call for each twin and each command, in this order.

        Raises:
            ValueError: see `Call`.
        """
        names = [commands] if isinstance(commands, str) else commands
        ready = encode(payload)
        return [cls(twin, name, ready, tag=tag) for twin in twins for name in names]


class Awaited:
    """A call that was sent, and whose answers are still missing."""

    def __init__(self, call: Call) -> None:
        """Wait for one answer from each twin."""
        self.call = call
        self._unheard = dict.fromkeys(call.twins)
        self._nameless_errors = 0

    @property
    def missing(self) -> int:
        """How many answers have not come."""
        return len(self._unheard) - self._nameless_errors

    def heard(
        self,
        source: str,
        payload: bytes,
        schema: str | None,
        error: tuple[int, str] | None,
        seconds: float,
        about: int | None = None,
    ) -> Outcome | None:
        """Count what has come; `None` for a twin that was not asked, or has answered before.

        Args:
            source: `<twin>` or `<twin>:<session>`; "0" is a relay, "" the local gateway.
            payload, schema: of the answer.
            error: code and text, or `None`.
            seconds: since it was asked.
            about: the twin that an error of ours is about.
        """
        number = source.partition(":")[0]
        twin = int(number) if number.isascii() and number.isdigit() and len(number) <= 10 else 0
        if about is not None:
            twin = about
        elif twin == 0 and len(self._unheard) == 1:
            twin = next(iter(self._unheard))
        if twin in self._unheard:
            del self._unheard[twin]
        elif twin or error is None or self.missing <= 0:
            return None
        else:
            self._nameless_errors += 1
        if error is not None:
            return call_error(source, *error, twin or None, seconds)
        return Answer(twin, source, self.call.command, payload, schema, seconds)

    def unreadable(self, reason: str) -> CallError:
        """Count something that came and cannot be read."""
        twin = next(iter(self._unheard)) if len(self._unheard) == 1 else None
        if twin is None:
            self._nameless_errors += 1
        else:
            del self._unheard[twin]
        return BadAnswer(f"the gateway pushed an answer that is none: {reason}", twin=twin)

    def overdue(self, timeout_s: float, taken: bool) -> list[CallError]:
        """The endings of what has not come in time.

        Args:
            timeout_s: how long was waited.
            taken: whether a gateway took the request.
        """
        kind = NoAnswer if taken else NotTaken
        text = f"no answer within {timeout_s:g} s" if taken else "no gateway took the request; is one running?"
        twins: list[int | None] = list(self._unheard)
        if self._nameless_errors:  # one of them may be what the error was about: nobody knows
            twins = [None] * self.missing
        return [kind(text, twin=twin) for twin in twins]


def check_timeout(timeout_s: float) -> float:
    """Return it if a call can wait that long.

    Raises:
        ValueError: it cannot.
    """
    if not 0 < timeout_s <= TIMEOUT_S_MAX:  # false for nan, too
        raise ValueError(f"a timeout is a number of seconds above 0 and at most {TIMEOUT_S_MAX:g}, not {timeout_s:g}")
    return timeout_s
