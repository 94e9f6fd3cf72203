"""How calls fail, and how handlers say that they cannot answer. Nothing else raises out of the SDK but `ValueError`.

RmbSdkError
├── StoreUnavailable       Redis is away or refuses
├── RelayUnavailable       (direct client) no relay or registry answers
└── CallError              a call ended without an answer: code, text, twin
    ├── NoAnswer           nobody answered in time
    │   └── NotTaken       no gateway took the request
    ├── MessageExpired     102
    ├── UnknownTwin        103
    ├── BadAnswer          what came is no answer
    ├── RelayError         a relay could not deliver it
    ├── GatewayError       the local gateway could not send it
    └── RemoteError        the other gateway or its service said no
"""

from typing import ClassVar

EXPIRED = 102
UNKNOWN_TWIN = 103
"""Codes of the existing network (spec rmb 5.9)."""

BAD_REQUEST = 400
NOT_FOUND = 404
TIMED_OUT = 408
BAD_ANSWER = 422
FAILED = 500
STOPPED = 503
TOOK_TOO_LONG = 504
"""These as in HTTP, so that nobody has to look them up."""


TEXT_CHARS_MAX = 4096
"""Longest text of an error; a guess: people read it."""


class RmbSdkError(Exception):
    """Anything that the SDK raises."""


class StoreUnavailable(RmbSdkError):
    """Redis cannot be used; the text says where it was looked for, without its password, and why.

    Attributes:
        reason: why.
    """

    def __init__(self, public_url: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"cannot use Redis at {public_url}: {reason}")


class RelayUnavailable(RmbSdkError):
    """No relay, or no registry of twins, can be used; the text says why."""


class CallError(RmbSdkError):
    """A call ended without an answer.

    Attributes:
        code: wire code, or one of HTTP's that says the same.
        text: for people.
        twin: who was asked; `None` when that cannot be told (several were, and the error does not say which).
        source: who says so: `<twin>` or `<twin>:<session>`; "0" is a relay, "" the local gateway or this library.
        seconds: how long the error took to come; 0 when nothing came.
    """

    default_code: ClassVar[int] = FAILED

    def __init__(self, text: str, *, code: int | None = None, twin: int | None = None, source: str = "") -> None:
        self.code = self.default_code if code is None else code
        self.text = text
        self.twin = twin
        self.source = source
        self.seconds = 0.0
        where = "" if twin is None else f"twin {twin}: "
        super().__init__(f"{where}{text} (code {self.code})")


class NoAnswer(CallError):
    """Nobody answered in time."""

    default_code = TIMED_OUT


class NotTaken(NoAnswer):
    """No gateway took the request from Redis in time; it has been taken back and will not be sent."""


class MessageExpired(CallError):
    """The message's life was over before it could be handled."""

    default_code = EXPIRED


class UnknownTwin(CallError):
    """There is no such twin."""

    default_code = UNKNOWN_TWIN


class BadAnswer(CallError):
    """What came back cannot be read."""

    default_code = BAD_ANSWER


class RelayError(CallError):
    """A relay could not deliver the request."""


class GatewayError(CallError):
    """The local gateway could not send the request."""


class RemoteError(CallError):
    """The other gateway refused the request, or its service answered with an error."""


class ServiceError(Exception):
    """Raised by a handler: the asker gets this code and text instead of an answer."""

    def __init__(self, code: int, text: str) -> None:
        """Say no.

        Args:
            code: a number from 0 to 2**32 - 1; those from 400 to 599 should mean what they mean in HTTP.
            text: for people; it travels unencrypted. More than 4,096 characters are cut off.

        Raises:
            ValueError: the code is out of range, or the text cannot be written as UTF-8.
        """
        text.encode()
        if not 0 <= code < 2**32:
            raise ValueError(f"an error code is a number from 0 to {2**32 - 1}, not {code}")
        self.code = code
        self.text = text[:TEXT_CHARS_MAX]
        super().__init__(f"{code}: {self.text}")


def call_error(source: str, code: int, text: str, twin: int | None, seconds: float) -> CallError:
    """The exception for an error answer.

    Args:
        source: see `CallError`.
        code: as it came.
        text: as it came.
        twin: who was asked, when known.
        seconds: how long it took.
    """
    kind: type[CallError]
    if code == UNKNOWN_TWIN and source == "":
        kind = UnknownTwin
    elif code == TOOK_TOO_LONG and source == "":  # our gateway's word for silence
        kind = NoAnswer
    elif code == EXPIRED:
        kind = MessageExpired
    else:
        kind = {"": GatewayError, "0": RelayError}.get(source, RemoteError)
    error = kind(text, code=code, twin=twin, source=source)
    error.seconds = seconds
    return error
