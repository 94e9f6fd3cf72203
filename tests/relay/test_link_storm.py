"""Many clients of rmb.2 that come, go and stall as a seed says, with some of rmb.1 between them.

Whatever happens: what was accepted arrives, in the order of its sender, and every envelope ends once per connection.
"""

import asyncio
import os
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.link.endings import Ending, Outcome, Window
from tests.support.link_client import Ended, LinkClient, link_client
from tests.support.relay import Directory, TestBed, receive, relay, request, send, until

SEEDS = range(int(os.environ.get("RMB_STORM_SEEDS", "2")))
"""More of them by environment, for a longer campaign."""

FLAPPING = (1, 2, 3, 4, 5, 6)
OLD = (8, 9)
MESSAGES = 150
MESSAGES_OLD = 30
"""Of each sender, to random destinations."""


class Book:
    """What each destination got for the first time, by sender; repeats are recognised, as gateways do."""

    def __init__(self) -> None:
        self.firsts: dict[tuple[str, str], list[int]] = {}
        self.seen: dict[str, set[str]] = {}
        self.repeats = 0

    def came(self, destination: int, uid: str) -> None:
        sender, _, number = uid.split("-")
        if uid in self.seen.setdefault(str(destination), set()):
            self.repeats += 1
            return
        self.seen[str(destination)].add(uid)
        self.firsts.setdefault((sender, str(destination)), []).append(int(number))


def envelopes(rng: random.Random, twin: int) -> list[Envelope]:
    made = []
    for n in range(MESSAGES if twin in FLAPPING else MESSAGES_OLD):
        destination = rng.choice((*FLAPPING, *OLD))
        payload = bytes(rng.choice((0, 100, 5_000)))
        made.append(request(twin, destination, f"{twin}-{destination}-{n}", payload=payload))
    return made


class Flapping:
    """A gateway: it keeps what has not ended, sends that first, in its order, and connects again and again."""

    def __init__(self, bed: TestBed, twin: int, seed: int, book: Book) -> None:
        self._bed, self._twin, self._book = bed, twin, book
        self._rng = random.Random(f"{seed}/{twin}")
        self.left = {envelope.uid: envelope for envelope in envelopes(self._rng, twin)}
        self.endings: dict[str, Ending] = {}
        self.connections = 0

    async def run(self, calm: asyncio.Event) -> None:
        """Flap until everything has ended; then stay, and settle whatever comes, until cancelled."""
        async with AsyncExitStack() as stack:
            while True:
                self.connections += 1
                window = Window(self._rng.choice((1, 5, 100, 4096)), self._rng.choice((20_000, 10**7)))
                client = await stack.enter_async_context(link_client(self._bed, self._twin, window=window, auto=False))
                client.on_outcome = self._ended
                stay = calm.is_set() or not self.left
                await self._one_connection(client, None if stay else self._rng.randrange(1, 120))
                if self._rng.random() < 0.5:
                    client.abort()
                if self._rng.random() < 0.5:  # else the next connection supersedes this one
                    await stack.aclose()

    def _ended(self, uid: str, outcome: Outcome) -> None:
        self.endings[uid] = outcome.ending
        del self.left[uid]

    async def _one_connection(self, client: LinkClient, life: int | None) -> None:
        sending = asyncio.create_task(self._send(client))
        try:
            held: list[int] = []
            while life is None or life > 0:
                number, envelope = await self._next(client)
                if envelope is None:
                    return
                life = None if life is None else life - 1
                self._book.came(self._twin, envelope.uid)
                held.append(number)
                if not client.waiting or self._rng.random() < 0.3:
                    self._rng.shuffle(held)
                    await client.settle(*held)
                    held.clear()
        except (Ended, ConnectionClosed):
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _next(self, client: LinkClient) -> tuple[int, Envelope | None]:
        coming = asyncio.ensure_future(client.receive())
        closing = asyncio.ensure_future(client.socket.wait_closed())
        try:
            await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else (0, None)
        finally:
            coming.cancel()
            closing.cancel()

    async def _send(self, client: LinkClient) -> None:
        try:
            for envelope in tuple(self.left.values()):
                await client.send(envelope)
                if self._rng.random() < 0.3:
                    await client.outcome(envelope.uid)
        except (Ended, ConnectionClosed):
            pass


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_storm(tmp_path: Path, seed: int) -> None:
    """Nothing accepted is missing, the order of every pair stays, nothing is settled twice."""
    book = Book()
    directory = Directory(*FLAPPING, *OLD)
    rng = random.Random(seed)
    async with relay(tmp_path, directory, direct_s_max=rng.choice((0.02, 0.2, 600.0))) as bed:
        gateways = [Flapping(bed, twin, seed, book) for twin in FLAPPING]
        calm = asyncio.Event()

        async def old(twin: int) -> None:
            async with bed.client(twin) as client:

                async def read() -> None:
                    while True:
                        book.came(twin, (await receive(client)).uid)

                reading = asyncio.create_task(read())
                try:
                    for envelope in envelopes(random.Random(f"{seed}/{twin}"), twin):
                        await send(client, envelope)
                        await asyncio.sleep(0.01)  # not all at once, so that there are direct moments between
                    await reading
                finally:
                    reading.cancel()

        tasks = [asyncio.create_task(gateway.run(calm)) for gateway in gateways]
        tasks += [asyncio.create_task(old(twin)) for twin in OLD]
        expected: dict[tuple[str, str], list[int]] = {}
        for twin in (*FLAPPING, *OLD):
            for envelope in envelopes(random.Random(f"{seed}/{twin}"), twin):
                sender, destination, number = envelope.uid.split("-")
                expected.setdefault((sender, destination), []).append(int(number))
        try:
            await until(lambda: not any(gateway.left for gateway in gateways) or _failed(tasks))
            calm.set()
            await until(lambda: book.firsts == expected or _failed(tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert book.firsts == expected
        assert {ending for gateway in gateways for ending in gateway.endings.values()} == {Ending.SAFE, Ending.AT_PEER}
        assert sum(gateway.connections for gateway in gateways) > 2 * len(gateways)


def _failed(tasks: "list[asyncio.Task[None]]") -> bool:
    for task in tasks:
        if task.done():
            task.result()
    return False
