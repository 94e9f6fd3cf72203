"""The stored record of who waits (spec rmb 5.6): readable as the Rust gateway's, and no flipped bit is believed."""

import pytest

from rmb_peer.local import backlog
from rmb_peer.local.queues import Waiting
from rmb_peer.protocol.pb.backlog_pb2 import Backlog

A7 = (  # spec rmb appendix A.7
    "0a2462336230663061362d386133652d346331652d396436322d32643161356336653766383012066d792d7265661a066d792d72657428ac02"
)
UID = "b3b0f0a6-8a3e-4c1e-9d62-2d1a5c6e7f80"


def test_a_record_of_the_rust_gateway_is_read() -> None:
    """The vector of the specification (A.7)."""
    assert backlog.decode(bytes.fromhex(A7)) == Waiting(UID, "my-ref", "my-ret", 300, ())


@pytest.mark.parametrize("reference", [None, "", "my-ref"])
@pytest.mark.parametrize("destinations", [(7,), (3, 1, 3), ()])
def test_a_record_comes_back(reference: str | None, destinations: tuple[int, ...]) -> None:
    """With every optional part, destinations in their order and number."""
    waiting = Waiting(UID, reference, "my-ret", 300, destinations)
    assert backlog.decode(backlog.encode(waiting)) == waiting


def test_others_can_read_ours() -> None:
    """Fields 1 to 5 are where the Rust gateway looks for them."""
    record = backlog.encode(Waiting(UID, "my-ref", "my-ret", 300, (7,)))
    assert record.startswith(bytes.fromhex(A7))
    parsed = Backlog.FromString(record)
    assert (parsed.uid, parsed.reference, parsed.reply_to, parsed.ttl) == (UID, "my-ref", "my-ret", 300)


def test_a_flipped_bit_is_noticed() -> None:
    """Whichever bit it is: the record is refused, or says exactly what it said before."""
    waiting = Waiting(UID, "my-ref", "my-ret", 300, (7, 8))
    record = backlog.encode(waiting)
    refused = 0
    for bit in range(len(record) * 8):
        damaged = bytearray(record)
        damaged[bit // 8] ^= 1 << bit % 8
        found = backlog.decode(bytes(damaged))
        refused += found is None
        assert found in (None, waiting)
    assert refused > 0.95 * len(record) * 8  # the others hit the mark of the checksum itself
