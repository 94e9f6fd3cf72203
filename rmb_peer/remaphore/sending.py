"""Publishes one message (spec remaphore 13): `-s`, and the first half of `-r`."""

import asyncio
import time
from dataclasses import dataclass

from rmb_peer.remaphore.core import envelopes, wire
from rmb_peer.remaphore.core.envelopes import Draft
from rmb_peer.remaphore.core.settings import Identity, Settings
from rmb_peer.remaphore.kept import Kept
from rmb_peer.remaphore.links import Connection, Dialer, LinkError, Lost
from rmb_peer.remaphore.patience import Patience


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is sent, and how.

    Attributes:
        retention_ns: `None` without `--durable`; 0 for the default.
    """

    settings: Settings
    identity: Identity
    draft: Draft
    subject: str
    retention_ns: int | None


class Sending:
    """One message on its way. It is signed once, after the first connection stands (W10)."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self.encoded = b""
        self.published = False

    def sign(self) -> bytes:
        """The bytes of the message; the same ones again after a lost connection, so that receivers know a repeat."""
        out = self._outgoing
        now_ns = time.time_ns()
        if not self.encoded:
            self.encoded = envelopes.sign(out.identity, out.draft, now_ns)
        elif not self._fresh(now_ns):
            raise LinkError("nats: connection closed; it is not known whether the message went out")
        return self.encoded

    def _fresh(self, now_ns: int) -> bool:
        return now_ns - wire.parse(self.encoded).time_ns <= self._outgoing.settings.allow_skew_ns

    async def publish(self, connection: Connection) -> None:
        """Store the message if it shall be kept, publish it, and wait until the server has taken it.

        Raises:
            LinkError: refused.
            Lost: not known; may be tried again on another connection.
        """
        out, encoded = self._outgoing, self.sign()
        if out.retention_ns is not None:
            kept = await Kept.open(connection, out.settings, out.retention_ns)
            await kept.keep(out.subject, wire.parse(encoded), encoded)
        await connection.publish(out.subject, encoded)
        await connection.flush()
        self.published = True


async def send(outgoing: Outgoing, dialer: Dialer, timeout_ns: int) -> int:
    """`-s`: publish and end.

    Returns:
        0; the server has taken the message.

    Raises:
        LinkError: it has not.
    """
    sending = Sending(outgoing)
    try:
        async with asyncio.timeout_at(Patience(timeout_ns).publish_s):
            while not sending.published:
                connection = await dialer.dial()
                try:
                    await sending.publish(connection)
                except Lost:
                    continue
                finally:
                    await connection.close()
    except TimeoutError:
        raise LinkError(timed_out(dialer)) from None
    return 0


def timed_out(dialer: Dialer) -> str:
    """Why nothing could be sent, with the last thing a server did (W27)."""
    return "nats: timeout" + (f" ({dialer.last_failure})" if dialer.last_failure else "")
