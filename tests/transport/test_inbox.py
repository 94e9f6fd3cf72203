"""The bounded queue between sockets and the work on their frames."""

import asyncio

from rmb_peer.transport.inbox import Inbox


async def test_frames_come_out_in_order_and_in_batches() -> None:
    """First in, first out; never more than asked for."""
    inbox = Inbox()
    for number in range(5):
        await inbox.put(b"%d" % number)
    await inbox.wait_filled()
    assert inbox.take(2) == [b"0", b"1"]
    assert (len(inbox), inbox.take(10)) == (3, [b"2", b"3", b"4"])
    assert inbox.take(10) == []


async def test_a_full_inbox_holds_up_its_writer() -> None:
    """At the limit of frames or bytes a writer waits until something is taken."""
    for inbox, frame in ((Inbox(frames_max=2), b"x"), (Inbox(bytes_max=2), b"x")):
        await inbox.put(frame)
        assert inbox.has_room()
        await inbox.put(frame)
        assert not inbox.has_room()
        writer = asyncio.create_task(inbox.put(b"third"))
        await asyncio.sleep(0)
        assert not writer.done()
        assert inbox.take(1) == [frame]
        await writer
        assert inbox.take(10) == [frame, b"third"]


async def test_one_large_frame_always_fits() -> None:
    """A frame larger than the byte limit is accepted when the inbox is empty: it must not block for ever."""
    inbox = Inbox(bytes_max=10)
    await inbox.put(bytes(100))
    assert not inbox.has_room()
    assert inbox.take(1) == [bytes(100)]
