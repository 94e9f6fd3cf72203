"""Messages as bytes: there and back, noise, sizes at their limits."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.errors import InvalidPayloadData
from rmb_peer.protocol.gossip.codec import (
    MESSAGE_BYTES_MIN,
    NODES_MAX,
    SIGNATURE_BYTES_MAX,
    decode,
    encode,
    entry_limits,
    largest_size,
    peer_data_max,
)
from rmb_peer.protocol.gossip.messages import (
    ROUND_MAX,
    Announcement,
    Digest,
    Disconnect,
    Fetch,
    Gossip,
    Held,
    IHave,
    Message,
    Neighbor,
    PeerInfo,
    Priority,
    Prune,
    Reason,
    Shuffle,
    ShuffleReply,
    Stamp,
    Wanted,
)
from rmb_peer.protocol.pb import gossip_pb2 as pb
from tests.support.gossip_messages import messages
from tests.support.gossip_swarm import TOPIC

LIMIT = 4096
U32, U64 = 2**32 - 1, 2**64 - 1
STAMP = Stamp(U32, U64, U64)


@given(messages())
def test_there_and_back(message: Message) -> None:
    """Every message is read as it was written."""
    assert decode(encode(message), LIMIT) == message
    assert type(decode(encode(message), LIMIT).body) is type(message.body)


@given(st.binary(max_size=200))
def test_noise(frame: bytes) -> None:
    """Whatever arrives is a message or refused."""
    with contextlib.suppress(InvalidPayloadData):
        message = decode(frame, LIMIT)
        assert decode(encode(message), LIMIT) == message


@given(messages(), st.data())
def test_damaged_messages(message: Message, data: st.DataObject) -> None:
    """A message with a changed byte, or cut short, is another message or refused."""
    frame = bytearray(encode(message))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(InvalidPayloadData):
        decode(bytes(frame[: data.draw(st.integers(0, len(frame)))]), LIMIT)


def _wire(**fields: object) -> bytes:
    return pb.Message(topic=TOPIC, **fields).SerializeToString()  # type: ignore[arg-type]


REFUSED = {
    "empty": (b"", "a topic has 32 bytes"),
    "no-topic": (pb.Message(topic=b"x", prune=pb.Prune()).SerializeToString(), "a topic has 32 bytes"),
    "no-body": (_wire(), "without a body that is known here"),
    "no-protobuf": (b"\xff\xff\xff", "no gossip message"),
    "number-0": (_wire(not_held=pb.NotHeld(id=pb.Id(stamp=pb.Stamp(author=1)))), "numbers begin with 1"),
    "no-identity": (_wire(payload=pb.Payload(content=b"x")), "a stamp or a hash"),
    "short-hash": (_wire(payload=pb.Payload(id=pb.Id(content_hash=b"x"))), "a stamp or a hash"),
    "round": (_wire(graft=pb.Graft(round=ROUND_MAX + 1)), "end at 65535"),
    "ttl": (_wire(shuffle=pb.Shuffle(ttl=ROUND_MAX + 1)), "end at 65535"),
    "priority": (_wire(neighbor=pb.Neighbor(priority=7)), "high or low"),  # type: ignore[arg-type]
    "range": (_wire(fetch=pb.Fetch(ranges=[pb.Wanted(first=2, last=1)])), "a range begins"),
    "range-0": (_wire(fetch=pb.Fetch(ranges=[pb.Wanted(first=0, last=1)])), "a range begins"),
    "held-0": (_wire(digest=pb.Digest(entries=[pb.Held(upto=1)])), "numbers begin with 1"),
}


@pytest.mark.parametrize(("frame", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(frame: bytes, words: str) -> None:
    """A value outside its range is refused, with words."""
    with pytest.raises(InvalidPayloadData, match=words):
        decode(frame, LIMIT)


def test_unknown_reason_is_none() -> None:
    """A reason of a later version does not stop a goodbye."""
    frame = _wire(disconnect=pb.Disconnect(alive=True, reason=99))  # type: ignore[arg-type]
    assert decode(frame, LIMIT).body == Disconnect(True, Reason.UNSPECIFIED)


def test_frame_at_the_limit() -> None:
    """As many bytes as the limit pass, one more does not."""
    frame = encode(Message(TOPIC, Gossip(STAMP, b"x" * 100, 0)))
    assert decode(frame, len(frame))
    with pytest.raises(InvalidPayloadData, match="the limit is"):
        decode(frame, len(frame) - 1)


def test_nodes_at_the_limit() -> None:
    """So many peers pass, one more does not."""
    infos = tuple(PeerInfo(number) for number in range(NODES_MAX))
    assert decode(encode(Message(TOPIC, ShuffleReply(infos))), LIMIT).body == ShuffleReply(infos)
    with pytest.raises(InvalidPayloadData, match="at most 32 nodes"):
        decode(encode(Message(TOPIC, ShuffleReply((*infos, PeerInfo(99))))), LIMIT)


def test_signature_at_the_limit() -> None:
    """So many bytes of signature pass, one more does not."""
    message = Message(TOPIC, Gossip(STAMP, b"", 0, bytes(SIGNATURE_BYTES_MAX)))
    assert decode(encode(message), LIMIT) == message
    with pytest.raises(InvalidPayloadData, match="signature"):
        decode(encode(Message(TOPIC, Gossip(STAMP, b"", 0, bytes(SIGNATURE_BYTES_MAX + 1)))), LIMIT)


@pytest.mark.parametrize("limit", [MESSAGE_BYTES_MIN, 1000, 4096, 65536])
def test_entries_fit_and_one_more_hardly(limit: int) -> None:
    """As many of the largest entries as are promised fit; two more do not."""
    entry, held = Announcement(STAMP, ROUND_MAX), Held(U32, U64, U64, U64)
    limits = entry_limits(limit, True)
    assert len(encode(Message(TOPIC, IHave((entry,) * limits.announcements)))) <= limit
    assert len(encode(Message(TOPIC, IHave((entry,) * (limits.announcements + 2))))) > limit
    for body in (Digest((held,) * limits.ranges, answer=True), Fetch((Wanted(*held),) * limits.ranges)):
        assert len(encode(Message(TOPIC, body))) <= limit
    assert len(encode(Message(TOPIC, Digest((held,) * (limits.ranges + 2), answer=True)))) > limit
    hashes = entry_limits(limit, False).announcements
    assert len(encode(Message(TOPIC, IHave((Announcement(bytes(32), ROUND_MAX),) * hashes)))) <= limit


def test_too_small_a_limit() -> None:
    """Below 512 bytes there is no profile (spec gossip 2.3)."""
    with pytest.raises(ValueError, match="at least 512"):
        entry_limits(MESSAGE_BYTES_MIN - 1, True)


@pytest.mark.parametrize("limit", [MESSAGE_BYTES_MIN, 4096])
def test_a_shuffle_with_the_longest_addresses_fits(limit: int) -> None:
    """Eight peers with the longest addresses that may be published fit into one message."""
    infos = (PeerInfo(U32, bytes(peer_data_max(limit))),) * 8
    assert len(encode(Message(TOPIC, Shuffle(U32, infos, ROUND_MAX)))) <= limit


@given(st.integers(0, ROUND_MAX), st.booleans(), st.binary(max_size=300))
def test_largest_size_is_an_upper_bound(hops: int, repair: bool, content: bytes) -> None:
    """Wherever a payload travels, it is not larger than was promised when it was accepted."""
    sent = Message(TOPIC, Gossip(Stamp(1, 2, 3), content, 0, b"s" * 65))
    on_its_way = Message(TOPIC, Gossip(Stamp(1, 2, 3), content, hops, b"s" * 65, repair))
    assert len(encode(on_its_way)) <= largest_size(sent)


def test_bytes_of_a_few_messages() -> None:
    """The wire format does not change by accident."""
    assert encode(Message(TOPIC, Prune())).hex() == "0a20" + "00" * 32 + "4a00"
    neighbor = Neighbor(Priority.LOW, None, True)
    assert encode(Message(TOPIC, neighbor)).hex() == "0a20" + "00" * 32 + "320408011801"
    payload = Gossip(Stamp(7, 1, 2), b"hi", 0)
    assert (
        encode(Message(TOPIC, payload)).hex()
        == "0a20" + "00" * 32 + "4210" + "0a080a06080710011802" + "12026869" + "1800"
    )
