"""`remaphore wait`: until enough of the known peers have sent a rendezvous value, kept messages included."""

import asyncio
from dataclasses import dataclass

from rmb_peer.remaphore.core.filters import Filter
from rmb_peer.remaphore.core.quorum import Quorum
from rmb_peer.remaphore.core.settings import Settings
from rmb_peer.remaphore.core.text import to_text
from rmb_peer.remaphore.core.wire import Message
from rmb_peer.remaphore.intake import Intake
from rmb_peer.remaphore.links import Dialer
from rmb_peer.remaphore.listening import Listener, until_ready
from rmb_peer.remaphore.notes import Notes
from rmb_peer.remaphore.patience import Patience
from rmb_peer.remaphore.requesting import Printer


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is waited for."""

    settings: Settings
    passing: Filter
    subject: str
    quorum: Quorum
    timeout_ns: int
    retention_ns: int


async def wait(what: Waiting, dialer: Dialer, notes: Notes) -> int:
    """Print each peer that reports, until there are enough.

    Returns:
        0 when there are, 1 when the time is over first; then it is said who is missing.

    Raises:
        LinkError: it cannot work.
        BrokenPipeError: nobody reads our output.
    """
    patience = Patience(what.timeout_ns)
    printer, quorum = Printer(), what.quorum
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def accept(message: Message, encoded: bytes) -> None:
        peer = None if quorum.reached else quorum.report(message.sender)
        if peer is None or reached.done():
            return
        try:
            printer.text(peer.destination, message.payload)
        except OSError as error:
            reached.set_exception(error)
            return
        if quorum.reached:
            reached.set_result(None)

    intake = Intake(what.settings, what.passing, notes, accept)
    listener = Listener(what.settings, dialer, what.subject, what.passing, intake, notes, what.retention_ns)
    listening = asyncio.ensure_future(listener.run())
    try:
        if not await until_ready(listener, listening, patience.connect_s):
            notes.say(f"no server was reached in time ({dialer.last_failure})")
            return 1
        left_s = None if patience.end_s is None else max(0.0, patience.end_s - asyncio.get_running_loop().time())
        await asyncio.wait({reached, listening}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if listening.done() and not reached.done():
            listening.result()
        if reached.done():
            reached.result()
            return 0
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        reached.cancel()
    missing = ", ".join(to_text(peer.destination) for peer in quorum.missing)
    notes.say(f"{quorum.reported} of the {quorum.wanted} reports came in time; nothing from: {missing}")
    return 1
