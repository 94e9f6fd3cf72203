"""The seam between a link, which dials, and the two ways of speaking on a connection, `rmb1` and `rmb2`."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.link.endings import Outcome
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.parcels import Parcel, Reached
from rmb_peer.transport.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a speaker is joined to.

    Attributes:
        url: of the relay, for log lines.
        next_parcel: the next parcel that may go out here now, or `None`.
        arrived: hears of a parcel how far it has come; it has ended here.
        refused: hears of a parcel that it goes nowhere from here, and why.
        inbox: where envelopes go.
        clock: monotonic seconds.
        rhythm: of the pings.
        message_bytes_max: largest envelope to accept.
    """

    url: str
    next_parcel: Callable[[], Parcel | None]
    arrived: Callable[[Parcel, Reached], None]
    refused: Callable[[Parcel, Outcome], None]
    inbox: Inbox
    clock: Callable[[], float]
    rhythm: Rhythm
    message_bytes_max: int


class Speaker(Protocol):
    """Parcels and envelopes on one connection.

    Attributes:
        name: of the protocol.
    """

    name: str

    @property
    def pulse(self) -> Pulse[Any]:
        """The pings of this connection."""
        ...

    @property
    def in_flight(self) -> int:
        """Parcels taken that have not ended."""
        ...

    @property
    def understood(self) -> bool:
        """Whether the relay has shown that it speaks this protocol."""
        ...

    def has_room(self, size_bytes: int = 0) -> bool:
        """Whether a parcel of this size may go out now."""
        ...

    def wake(self) -> None:
        """There may be something to send."""
        ...

    def probe(self) -> None:
        """Ask the relay for a sign of life soon, unless that is under way."""
        ...

    def take_unended(self) -> list[Parcel]:
        """Every parcel taken that has not ended, in order; the connection is gone."""
        ...

    async def run(self) -> None:
        """Read and write until the connection fails, with the error."""
        ...


async def until_one_fails(*parts: Coroutine[None, None, None]) -> None:
    """Run endless parts together; the first error ends them all. Of several at once, that of the first part counts.

    No task group: before Python 3.13 one that is ending with an error swallows a cancellation, and the link would dial
    again instead of ending.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
