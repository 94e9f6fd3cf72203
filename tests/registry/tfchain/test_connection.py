"""Failover, time limits and giving up, with nodes that a test holds in its hand."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from rmb_peer.registry.tfchain.connection import ChainConnection
from rmb_peer.registry.tfchain.errors import ChainUnavailable, NodeFailed, NodeOfWrongChain, NodeRefused, WrongChain
from rmb_peer.registry.tfchain.node import Node
from tests.support.gateways import WAIT_S

A, B = "ws://a", "ws://b"


class FakeNode:
    """What `worker` uses of a node. `aborted` wakes work that waits on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.limits: list[float | None] = []
        self.closed = threading.Event()
        self.aborted = threading.Event()

    def limit(self, seconds: float | None) -> None:
        self.limits.append(seconds)

    def close(self) -> None:
        self.closed.set()

    def abort(self) -> None:
        self.aborted.set()


class Network:
    """Dials, and remembers what was dialled."""

    def __init__(self) -> None:
        self.dialled: list[str] = []
        self.nodes: list[FakeNode] = []
        self.down: set[str] = set()
        self.hanging: dict[str, threading.Event] = {}

    def dial(self, url: str, _open_s_max: float) -> Node:
        self.dialled.append(url)
        if url in self.hanging:
            self.hanging[url].wait(WAIT_S)
        if url in self.down:
            raise NodeFailed("down")
        self.nodes.append(FakeNode(url))
        return cast(Node, self.nodes[-1])


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    """A network of which nothing hangs at the end."""
    network = Network()
    yield network
    for event in network.hanging.values():
        event.set()


def connection(network: Network, *urls: str, **options: Any) -> ChainConnection:
    return ChainConnection(urls, dial=network.dial, **{"pause_s": (0.0, 0.0), **options})


def url_of(node: Node) -> str:
    return node.url


async def test_the_first_url_that_works_is_kept(network: Network) -> None:
    """A dead node is passed over once; later calls use the connection that is there."""
    network.down.add(A)
    chain = connection(network, A, B)
    assert [await chain.call(url_of) for _ in range(3)] == [B, B, B]
    assert network.dialled == [A, B]
    assert chain.url == B
    await chain.close()
    await asyncio.to_thread(network.nodes[0].closed.wait, WAIT_S)


async def test_two_rounds_over_the_list(network: Network) -> None:
    """Then the error names each node with its reason, and says what to do."""
    network.down |= {A, B}
    chain = connection(network, A, B)
    with pytest.raises(ChainUnavailable, match=r"ws://a: down; ws://b: down.*check the network and --substrate"):
        await chain.call(url_of)
    assert network.dialled == [A, B, A, B]
    await chain.close()


async def test_after_a_failure_calls_fail_at_once_for_a_while(network: Network) -> None:
    """The pause doubles up to its limit, and begins small again after a success."""
    now = 0.0
    network.down.add(A)
    chain = connection(network, A, clock=lambda: now, pause_s=(1.0, 3.0))
    for start, pause in ((10.0, 1.0), (20.0, 2.0), (30.0, 3.0), (40.0, 3.0)):
        now = start
        with pytest.raises(ChainUnavailable):
            await chain.call(url_of)
        dialled = len(network.dialled)
        now = start + pause - 0.01
        with pytest.raises(ChainUnavailable, match="down"):
            await chain.call(url_of)
        assert len(network.dialled) == dialled
        now = start + pause
    network.down.clear()
    assert await chain.call(url_of) == A
    now = 50.0
    network.down.add(A)

    def lose(node: Node) -> str:
        raise NodeFailed("lost")

    with pytest.raises(ChainUnavailable):
        await chain.call(lose)
    now = 51.0
    network.down.clear()
    assert await chain.call(url_of) == A
    await chain.close()


async def test_work_goes_on_with_the_next_node(network: Network) -> None:
    """A connection lost in the middle: reading is repeated elsewhere, the lost one is closed."""
    chain = connection(network, A, B)

    def read(node: Node) -> str:
        if node.url == A:
            raise NodeFailed("lost")
        return node.url

    assert await chain.call(read, limit_s=5) == B
    assert network.nodes[0].closed.is_set()
    assert network.nodes[1].limits[-1] == 5
    await chain.close()


async def test_work_that_must_not_be_repeated_is_not(network: Network) -> None:
    """It fails instead; but a node that could not be reached before it began does not count."""
    network.down.add(A)
    chain = connection(network, A, B)
    begun: list[str] = []

    def send(node: Node) -> str:
        begun.append(node.url)
        raise NodeFailed("lost")

    with pytest.raises(ChainUnavailable, match="ws://b: lost"):
        await chain.call(send, repeat=False)
    assert begun == [B]
    await chain.close()


async def test_other_errors_are_handed_up(network: Network) -> None:
    """What a node refuses, and mistakes of the work itself, come out as they are; the connection stays."""
    chain = connection(network, A)
    for error in (NodeRefused(4003, "discarded"), KeyError("x")):

        def fail(_node: Node, error: Exception = error) -> str:
            raise error

        with pytest.raises(type(error)):
            await chain.call(fail)
    assert await chain.call(url_of) == A
    assert network.dialled == [A]
    await chain.close()


async def test_a_node_is_checked_before_it_is_used(network: Network) -> None:
    """One of another chain is passed over; when all are, the error says that waiting is useless."""

    def check(node: Node) -> None:
        if node.url == A:
            raise NodeOfWrongChain("no twins here")

    chain = connection(network, A, B, check=check)
    assert await chain.call(url_of) == B
    assert network.nodes[0].closed.is_set()
    await chain.close()
    alone = connection(network, A, check=check)
    with pytest.raises(WrongChain, match="no twins here"):
        await alone.call(url_of)
    await alone.close()


async def test_a_thread_that_does_not_come_back_is_given_up(network: Network) -> None:
    """Its socket is cut, nobody waits for it, and the next node answers; what waited behind it is not lost."""
    chain = connection(network, A, B, grace_s=0.05)
    stuck, released = threading.Event(), threading.Event()

    def hang(node: Node) -> str:
        if node.url == A:
            stuck.set()
            released.wait(WAIT_S)  # heeds neither deadline nor abort
        return node.url

    first = asyncio.create_task(chain.call(hang, limit_s=0.01))
    await asyncio.to_thread(stuck.wait, WAIT_S)
    second = asyncio.create_task(chain.call(url_of))
    assert [await first, await second] == [B, B]
    assert network.nodes[0].aborted.is_set()
    assert not network.nodes[0].closed.is_set()
    released.set()
    await asyncio.to_thread(network.nodes[0].closed.wait, WAIT_S)
    assert network.nodes[0].closed.is_set()
    await chain.close()


async def test_dialling_that_hangs_is_given_up(network: Network) -> None:
    """A name that does not resolve within any limit costs one turn."""
    network.hanging[A] = threading.Event()
    chain = connection(network, A, B, connect_s_max=0.01, grace_s=0.05)
    assert await chain.call(url_of) == B
    await chain.close()


async def test_sending_that_hangs_is_not_repeated(network: Network) -> None:
    """Nobody knows what became of it, so it fails."""
    chain = connection(network, A, B, grace_s=0.05)
    sent: list[str] = []

    def send(node: Node) -> str:
        sent.append(node.url)
        cast(FakeNode, node).aborted.wait(WAIT_S)
        return node.url

    with pytest.raises(ChainUnavailable, match="in time"):
        await chain.call(send, limit_s=0.01, repeat=False)
    assert sent == [A]
    await chain.close()


async def _hold(network: Network, chain: ChainConnection) -> "asyncio.Task[str]":
    """A call without limit that is under way, and ends only when its node is cut."""
    started = threading.Event()

    def follow(node: Node) -> str:
        started.set()
        cast(FakeNode, node).aborted.wait(WAIT_S)
        raise NodeFailed("cut")

    task = asyncio.create_task(chain.call(follow, limit_s=None))
    await asyncio.to_thread(started.wait, WAIT_S)
    return task


async def test_cancelling_cuts_the_connection(network: Network) -> None:
    """Work without limit, such as a subscription, ends that way; the connection can be used again."""
    chain = connection(network, A, B)
    task = await _hold(network, chain)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert network.nodes[0].aborted.is_set()
    assert await chain.call(url_of) == B
    await chain.close()


async def test_a_call_that_waits_can_be_cancelled_alone(network: Network) -> None:
    """What has not begun is forgotten; what is under way goes on."""
    chain = connection(network, A)
    release = threading.Event()
    first = asyncio.create_task(chain.call(lambda node: release.wait(WAIT_S)))
    ran: list[int] = []
    second = asyncio.create_task(chain.call(lambda node: ran.append(1)))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    release.set()
    assert await first
    assert await chain.call(url_of) == A
    assert not ran
    assert not network.nodes[0].aborted.is_set()
    await chain.close()


@pytest.mark.parametrize("leave", ["leave_node", "close"])
async def test_leaving_and_closing_end_what_is_under_way(network: Network, leave: str) -> None:
    """A stalled node is left for the next; closing is final, and twice is harmless."""
    chain = connection(network, A, B)
    task = await _hold(network, chain)
    if leave == "close":
        await chain.close()
        with pytest.raises(ChainUnavailable, match="was closed"):
            await task
        with pytest.raises(ChainUnavailable, match="was closed"):
            await chain.call(url_of)
    else:
        chain.leave_node()
        assert await chain.call(url_of) == B or task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert network.nodes[0].aborted.is_set()
    await chain.close()
    await chain.close()


async def test_the_event_loop_is_free_meanwhile(network: Network) -> None:
    """Other tasks run while the thread is blocked."""
    chain = connection(network, A)
    entered, release = threading.Event(), threading.Event()

    def block(_node: Node) -> bool:
        entered.set()
        return release.wait(WAIT_S)

    call = asyncio.create_task(chain.call(block))
    await asyncio.to_thread(entered.wait, WAIT_S)
    turns = 0
    for _ in range(100):
        await asyncio.sleep(0)
        turns += not call.done()
    release.set()
    assert await call
    assert turns == 100
    await chain.close()


def test_the_library_is_not_loaded_for_help() -> None:
    """Neither the commands nor the connection import substrate-interface before a node is dialled."""
    import subprocess
    import sys

    from tests.support.processes import environment

    script = (
        "import sys, rmb_peer.commands.run, rmb_peer.commands.twin, relay.cli, rmb_peer.app, relay.app\n"
        "rmb_peer.commands.run.build_parser(); rmb_peer.commands.twin.build_parser(); relay.cli.build_parser()\n"
        "from rmb_peer.registry.opening import open_tfchain; open_tfchain('ws://127.0.0.1:1')\n"
        "assert not {'substrateinterface', 'scalecodec'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=environment())
