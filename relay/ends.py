"""Why and how the connection of a session ends. It refuses to know what a connection does."""

from dataclasses import dataclass

from aiohttp import WSCloseCode

from relay.metrics import Eviction
from relay.websocket import BROKEN
from relay.websocket import SUPERSEDED as SUPERSEDED_CODE
from rmb_peer.transport.websocket.judge import CLOSE


@dataclass(frozen=True, slots=True)
class End:
    """Why and how a connection ends.

    Attributes:
        reason: for the log.
        eviction: for the metrics.
        code: our Close code; `None` when there is nobody to say it to, or the client said Close first.
        flush: whether the client gets a moment to confirm what it has read.
        listen: whether frames that the client sent before it hears our Close still count.
    """

    reason: str
    eviction: Eviction
    code: int | None = None
    flush: bool = False
    listen: bool = False


LOST = End("connection lost", "closed")
CLIENT_CLOSED = End("closed by the client", "closed")
SILENT = End("no answer to a ping", "closed")
STUCK = End("takes nothing any more", "back_pressure_timeout")
SUPERSEDED = End("superseded by a newer connection", "cancelled", SUPERSEDED_CODE, listen=True)
SHUTDOWN = End("relay is shutting down; retry after 2 s", "cancelled", WSCloseCode.GOING_AWAY, flush=True, listen=True)
NOT_ADMITTED = End("twin is no longer admitted: ask the relay's operator", "cancelled", WSCloseCode.POLICY_VIOLATION)
TEXT = End("text frame", "closed", WSCloseCode.UNSUPPORTED_DATA)
NO_ENVELOPE = End("frame is no envelope", "closed", WSCloseCode.INVALID_TEXT)


def rules_broken(text: str) -> End:
    """The client does not keep to the rules of the acknowledged link."""
    return End(f"rules of the link broken: {text}", "closed", WSCloseCode.PROTOCOL_ERROR)


def how_it_ended(first: int, text: bytes) -> End:
    """The end that was heard in place of a frame (`websocket.Heard`)."""
    if first == CLOSE:
        return CLIENT_CLOSED
    if first == BROKEN:
        return End(f"WebSocket rules broken: {text.decode()}", "closed")  # the client has been told
    return LOST
