"""The bounded queue between sockets and the work on their frames."""

import asyncio

from rmb_peer.transport.inbox import Inbox, Received


def frame(data: bytes) -> Received:
    return Received(data, lambda: None)


def contents(frames: list[Received]) -> list[bytes]:
    return [received.data for received in frames]


async def test_frames_come_out_in_order_and_in_batches() -> None:
    """First in, first out; never more than asked for."""
    inbox = Inbox()
    for number in range(5):
        await inbox.put(frame(b"%d" % number))
    await inbox.wait_filled()
    assert contents(inbox.take(2)) == [b"0", b"1"]
    assert len(inbox) == 3
    assert contents(inbox.take(10)) == [b"2", b"3", b"4"]
    assert inbox.take(10) == []


async def test_a_full_inbox_holds_up_its_writer() -> None:
    """At the limit of frames or bytes a writer waits until something is taken."""
    for inbox in (Inbox(frames_max=2), Inbox(bytes_max=2)):
        await inbox.put(frame(b"x"))
        assert inbox.has_room()
        await inbox.put(frame(b"y"))
        assert not inbox.has_room()
        writer = asyncio.create_task(inbox.put(frame(b"third")))
        await asyncio.sleep(0)
        assert not writer.done()
        assert contents(inbox.take(1)) == [b"x"]
        await writer
        assert contents(inbox.take(10)) == [b"y", b"third"]


async def test_one_large_frame_always_fits() -> None:
    """A frame larger than the byte limit is accepted when the inbox is empty: it must not block for ever."""
    inbox = Inbox(bytes_max=10)
    await inbox.put(frame(bytes(100)))
    assert not inbox.has_room()
    assert contents(inbox.take(1)) == [bytes(100)]
