"""What it costs to hand one small message from process to process: the machine's own floor for a lone request.

    python -m tests.benchmarks.hops

A token goes round a ring of processes that are connected by TCP on the loopback interface, each of which waits for it
and sends it on. A request and its answer over one relay are `REQUEST_HOPS` such steps, whatever is done at each.

What is done there takes longer than when it is done again and again: between two steps other processes use the caches.
So the ring is also measured with the work of reading and writing one message at each step, beside that work alone.
"""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Literal

from rmb_peer.arrivals import CLOCK_SKEW_S_MAX, examine
from rmb_peer.local.messages import incoming_request, parse_request
from rmb_peer.protocol.challenge import challenge
from rmb_peer.protocol.envelope import Envelope
from tests.support.gateways import request_json

RING = 6
"""Processes in the ring, as on the way of a request: program, store, gateway, relay, gateway, store."""

REQUEST_HOPS = 12
"""Program, store, gateway, relay, gateway, store, service: six steps; and back."""

LAPS = 300
ROUNDS = 5
UID = "00000000-0000-4000-8000-000000000000"
TOKEN = b"t" * 300
"""About as long as a sealed message of 100 bytes."""

Kind = Literal["bare", "loop", "work", "warm"]
Step = Callable[[], object]


def hop_us(kind: Kind, laps: int = LAPS) -> float:
    """Microseconds from the send in one process to the next one having received.

    Args:
        kind: "bare" waits in `recv`, as a program does; "loop" in an event loop, as a gateway does; "work" also reads
            and writes a message; "warm" is that work without the ring.
        laps: how often the token goes round.
    """
    if kind == "warm":
        step = _message()
        began_s = time.perf_counter()
        for _ in range(laps * RING):
            step()
        return (time.perf_counter() - began_s) / laps / RING * 1e6
    links = [_tcp_pair() for _ in range(RING)]
    pass_on = _bare if kind == "bare" else partial(_loop, step=_message() if kind == "work" else None)
    children = [_fork(pass_on, links, number) for number in range(1, RING)]
    receiver, sender = links[RING - 1][1], links[0][0]
    try:
        _lap(sender, receiver)
        began_s = time.perf_counter()
        for _ in range(laps):
            _lap(sender, receiver)
        return (time.perf_counter() - began_s) / laps / RING * 1e6
    finally:
        for link in links:
            for end in link:
                end.close()  # each process ends when its predecessor has
        for child in children:
            os.waitpid(child, 0)


def _lap(sender: socket.socket, receiver: socket.socket) -> None:
    sender.sendall(TOKEN)
    _receive(receiver)


def _receive(end: socket.socket) -> bytes:
    data = b""
    while len(data) < len(TOKEN):
        part = end.recv(len(TOKEN) - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for end in (one, other):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


Link = tuple[socket.socket, socket.socket]


def _fork(pass_on: Callable[[socket.socket, socket.socket], None], links: Sequence[Link], number: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        receiver, sender = links[number - 1][1], links[number][0]
        for end in (end for link in links for end in link):
            if end not in (receiver, sender):
                end.close()
        pass_on(receiver, sender)
    except (EOFError, OSError):
        pass  # the ring is being taken down
    finally:
        os._exit(0)


def _bare(receiver: socket.socket, sender: socket.socket) -> None:
    while True:
        sender.sendall(_receive(receiver))


class _PassOn(asyncio.Protocol):
    def __init__(self, out: asyncio.WriteTransport, step: Step | None) -> None:
        self.gone = asyncio.get_running_loop().create_future()
        self._out = out
        self._step = step

    def data_received(self, data: bytes) -> None:
        if self._step is not None:
            self._step()
        self._out.write(data)

    def connection_lost(self, problem: Exception | None) -> None:
        self.gone.set_result(None)


def _loop(receiver: socket.socket, sender: socket.socket, step: Step | None = None) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        out, _ = await loop.create_connection(asyncio.Protocol, sock=sender)
        _, passing = await loop.create_connection(lambda: _PassOn(out, step), sock=receiver)
        await passing.gone
        out.close()

    try:
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve())


def _message() -> Step:
    """About what a gateway does to a message besides cryptography: JSON to an envelope and bytes, and back."""
    raw = request_json(7)
    parse_request(raw)

    def step() -> None:
        request = parse_request(raw)
        envelope = Envelope(uid=UID, timestamp=1, expiration=CLOCK_SKEW_S_MAX, plain=request.payload)
        envelope.request.command = request.command
        envelope.destination.twin, envelope.source.twin = request.destinations[0], 5
        challenge(envelope)
        arrival = examine(envelope.SerializeToString(), 7, 1)
        challenge(arrival.envelope)
        incoming_request(
            uid=UID,
            source=arrival.source,
            command=request.command,
            expiration_s=1,
            payload=arrival.envelope.plain,
            tags=None,
            schema=None,
            timestamp_s=1,
        )

    return step


def main() -> int:
    """Print all kinds."""
    kinds: tuple[Kind, ...] = ("bare", "loop", "work", "warm")
    seen: dict[Kind, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind in kinds:
            seen[kind].append(hop_us(kind))
    for kind, rounds in seen.items():
        hop = median(rounds)
        print(f"{kind}: {hop:.1f} us for a hop, {REQUEST_HOPS * hop / 1000:.2f} ms for the {REQUEST_HOPS} of a request")
    return 0


if __name__ == "__main__":
    sys.exit(main())
