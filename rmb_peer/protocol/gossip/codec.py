"""Messages as bytes: `schemas/gossip.proto` (spec gossip 4.3, 19), and what fits into how many.

`decode` gives a message whose every number is within its range, or refuses with a `PeerError`; the machines rely on
that. Sizes are computed from the encoding itself, so that they cannot drift from it (weakness W15).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from rmb_peer.protocol.errors import InvalidPayloadData
from rmb_peer.protocol.gossip.identity import CONTENT_ID_BYTES
from rmb_peer.protocol.gossip.messages import (
    ROUND_MAX,
    TOPIC_BYTES,
    Announcement,
    Body,
    Digest,
    Disconnect,
    Fetch,
    ForwardJoin,
    Gossip,
    Graft,
    Held,
    HistoryRequest,
    IHave,
    Join,
    Message,
    MessageId,
    Neighbor,
    NotHeld,
    PeerInfo,
    Ping,
    Pong,
    Priority,
    Prune,
    Reason,
    Shuffle,
    ShuffleReply,
    Stamp,
    Summary,
    Wanted,
)
from rmb_peer.protocol.pb import gossip_pb2 as pb

MESSAGE_BYTES_MIN = 512
"""The smallest limit of a message that a profile may have (spec gossip 2.3)."""
NODES_MAX = 32
"""Peers in a Shuffle or its answer; upstream sends eight and knows no limit (weakness W26)."""
SIGNATURE_BYTES_MAX = 128
"""Longer ones are noise; ours have 65 bytes (spec rmb 2.7)."""
U32_MAX, U64_MAX = 2**32 - 1, 2**64 - 1


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    wire = pb.Message(topic=message.topic)
    name, write = _WRITERS[type(message.body)]
    target = getattr(wire, name)
    target.SetInParent()
    write(message.body, target)
    return wire.SerializeToString()


def decode(frame: bytes, bytes_max: int) -> Message:
    """Read a message.

    Args:
        frame: what came.
        bytes_max: `Limits.message_bytes_max`.

    Raises:
        InvalidPayloadData: too large, no message, or a value outside its range; the text says which.
    """
    if len(frame) > bytes_max:
        raise InvalidPayloadData(f"a gossip message of {len(frame)} bytes, and the limit is {bytes_max}")
    wire = pb.Message()
    try:
        wire.ParseFromString(frame)
    except DecodeError:
        raise InvalidPayloadData("no gossip message") from None
    _check(len(wire.topic) == TOPIC_BYTES, f"a topic has {TOPIC_BYTES} bytes")
    name = wire.WhichOneof("body")
    if name is None:
        raise InvalidPayloadData("a gossip message without a body that is known here")
    return Message(wire.topic, _READERS[name](getattr(wire, name)))


class EntryLimits(NamedTuple):
    """How many of the largest entries fit into one message.

    Attributes:
        announcements: in an IHave.
        ranges: in a Digest, Summary or Fetch.
    """

    announcements: int
    ranges: int


@lru_cache(maxsize=16)
def entry_limits(bytes_max: int, stamps: bool) -> EntryLimits:
    """What fits.

    Args:
        bytes_max: `Limits.message_bytes_max`.
        stamps: whether messages are identified by stamps; otherwise by hashes.

    Raises:
        ValueError: the limit is below `MESSAGE_BYTES_MIN`.
    """
    if bytes_max < MESSAGE_BYTES_MIN:
        raise ValueError(f"message_bytes_max is {bytes_max}; at least {MESSAGE_BYTES_MIN} are needed")
    largest: MessageId = Stamp(U32_MAX, U64_MAX, U64_MAX) if stamps else bytes(CONTENT_ID_BYTES)
    announcement = Announcement(largest, ROUND_MAX)
    held = Held(U32_MAX, U64_MAX, U64_MAX, U64_MAX)
    return EntryLimits(
        _fits(bytes_max, IHave((announcement,)), IHave((announcement,) * 2)),
        _fits(bytes_max, Digest((held,), answer=True), Digest((held,) * 2, answer=True)),
    )


def _fits(bytes_max: int, one: Body, two: Body) -> int:
    size_one, size_two = (len(encode(Message(bytes(TOPIC_BYTES), body))) for body in (one, two))
    entry = size_two - size_one
    return (bytes_max - (size_one - entry) - 4) // entry  # 4: the length in front of all entries grows with them


def largest_size(message: Message) -> int:
    """The most bytes that a payload can have on any part of its way."""
    body = message.body
    assert isinstance(body, Gossip)
    hops = None if body.round is None else ROUND_MAX
    return len(encode(message._replace(body=body._replace(round=hops, repair=True))))


def peer_data_max(bytes_max: int) -> int:
    """The most bytes of address that a peer may publish, so that eight of them fit into a Shuffle."""
    return (bytes_max - 64) // 8 - 16


# --- writing ----------------------------------------------------------------------------------------------------------


def _write_info(info: PeerInfo, to: pb.PeerInfo) -> None:
    to.twin = info.id
    if info.data is not None:
        to.data = info.data


def _write_id(key: MessageId, to: pb.Id) -> None:
    if isinstance(key, Stamp):
        to.stamp.SetInParent()
        to.stamp.author, to.stamp.incarnation, to.stamp.number = key
    else:
        to.content_hash = key


def _write_join(body: Join, to: pb.Join) -> None:
    if body.data is not None:
        to.data = body.data


def _write_forward_join(body: ForwardJoin, to: pb.ForwardJoin) -> None:
    _write_info(body.peer, to.newcomer)
    to.ttl = body.ttl


def _write_shuffle(body: Shuffle, to: pb.Shuffle) -> None:
    to.origin, to.ttl = body.origin, body.ttl
    for info in body.nodes:
        _write_info(info, to.nodes.add())


def _write_shuffle_reply(body: ShuffleReply, to: pb.ShuffleReply) -> None:
    for info in body.nodes:
        _write_info(info, to.nodes.add())


def _write_neighbor(body: Neighbor, to: pb.Neighbor) -> None:
    to.priority = body.priority.value  # type: ignore[assignment] # a number is what protobuf wants
    if body.data is not None:
        to.data = body.data
    if body.answer is not None:
        to.answer = body.answer


def _write_disconnect(body: Disconnect, to: pb.Disconnect) -> None:
    to.alive = body.alive
    to.reason = body.reason.value  # type: ignore[assignment]


def _write_payload(body: Gossip, to: pb.Payload) -> None:
    _write_id(body.id, to.id)
    to.content, to.signature, to.repair = body.content, body.signature, body.repair
    if body.round is not None:
        to.round = body.round


def _write_nothing(body: Prune, to: pb.Prune) -> None:
    pass


def _write_graft(body: Graft, to: pb.Graft) -> None:
    to.round = body.round
    if body.id is not None:
        _write_id(body.id, to.id)


def _write_i_have(body: IHave, to: pb.IHave) -> None:
    for key, hops in body.entries:
        entry = to.entries.add()
        _write_id(key, entry.id)
        entry.round = hops


def _write_ping(body: Ping | Pong, to: pb.Ping | pb.Pong) -> None:
    to.nonce = body.nonce


def _write_not_held(body: NotHeld, to: pb.NotHeld) -> None:
    _write_id(body.id, to.id)


def _write_held(body: Digest | Summary, to: pb.Digest | pb.Summary) -> None:
    for author, incarnation, first, upto in body.entries:
        to.entries.add(author=author, incarnation=incarnation, first=first, upto=upto)
    if isinstance(body, Digest) and isinstance(to, pb.Digest):
        to.answer = body.answer


def _write_fetch(body: Fetch, to: pb.Fetch) -> None:
    for author, incarnation, first, last in body.ranges:
        to.ranges.add(author=author, incarnation=incarnation, first=first, last=last)


def _write_history_request(body: HistoryRequest, to: pb.HistoryRequest) -> None:
    to.latest = body.latest


_WRITERS: dict[type[Any], tuple[str, Callable[[Any, Any], None]]] = {
    Join: ("join", _write_join),
    ForwardJoin: ("forward_join", _write_forward_join),
    Shuffle: ("shuffle", _write_shuffle),
    ShuffleReply: ("shuffle_reply", _write_shuffle_reply),
    Neighbor: ("neighbor", _write_neighbor),
    Disconnect: ("disconnect", _write_disconnect),
    Gossip: ("payload", _write_payload),
    Prune: ("prune", _write_nothing),
    Graft: ("graft", _write_graft),
    IHave: ("i_have", _write_i_have),
    Ping: ("ping", _write_ping),
    Pong: ("pong", _write_ping),
    NotHeld: ("not_held", _write_not_held),
    Digest: ("digest", _write_held),
    Fetch: ("fetch", _write_fetch),
    HistoryRequest: ("history_request", _write_history_request),
    Summary: ("summary", _write_held),
}


# --- reading ----------------------------------------------------------------------------------------------------------


def _check(right: bool, rule: str) -> None:
    if not right:
        raise InvalidPayloadData(f"gossip: {rule}")


def _hops(number: int) -> int:
    _check(number <= ROUND_MAX, f"rounds and ttls end at {ROUND_MAX}")
    return number


def _data(wire: Any) -> bytes | None:
    return wire.data if wire.HasField("data") else None


def _read_info(wire: pb.PeerInfo) -> PeerInfo:
    return PeerInfo(wire.twin, _data(wire))


def _read_nodes(wire: Any) -> tuple[PeerInfo, ...]:
    _check(len(wire.nodes) <= NODES_MAX, f"at most {NODES_MAX} nodes at once")
    return tuple(_read_info(node) for node in wire.nodes)


def _read_id(wire: pb.Id) -> MessageId:
    kind = wire.WhichOneof("id")
    if kind == "stamp":
        _check(wire.stamp.number >= 1, "numbers begin with 1")
        return Stamp(wire.stamp.author, wire.stamp.incarnation, wire.stamp.number)
    _check(kind is not None and len(wire.content_hash) == CONTENT_ID_BYTES, "an identity is a stamp or a hash")
    return wire.content_hash


def _read_neighbor(wire: pb.Neighbor) -> Neighbor:
    _check(wire.priority in (Priority.HIGH.value, Priority.LOW.value), "a priority is high or low")
    return Neighbor(Priority(wire.priority), _data(wire), wire.answer if wire.HasField("answer") else None)


def _read_disconnect(wire: pb.Disconnect) -> Disconnect:
    known = any(wire.reason == reason.value for reason in Reason)
    return Disconnect(wire.alive, Reason(wire.reason) if known else Reason.UNSPECIFIED)


def _read_payload(wire: pb.Payload) -> Gossip:
    _check(len(wire.signature) <= SIGNATURE_BYTES_MAX, f"a signature has at most {SIGNATURE_BYTES_MAX} bytes")
    hops = _hops(wire.round) if wire.HasField("round") else None
    return Gossip(_read_id(wire.id), wire.content, hops, wire.signature, wire.repair)


def _read_held(wire: Any) -> tuple[Held, ...]:
    for entry in wire.entries:
        _check(entry.first >= 1, "numbers begin with 1")
    return tuple(Held(entry.author, entry.incarnation, entry.first, entry.upto) for entry in wire.entries)


def _read_fetch(wire: pb.Fetch) -> Fetch:
    for entry in wire.ranges:
        _check(1 <= entry.first <= entry.last, "a range begins with 1 or later and ends behind its beginning")
    return Fetch(tuple(Wanted(entry.author, entry.incarnation, entry.first, entry.last) for entry in wire.ranges))


_READERS: dict[str, Callable[[Any], Body]] = {
    "join": lambda wire: Join(_data(wire)),
    "forward_join": lambda wire: ForwardJoin(_read_info(wire.newcomer), _hops(wire.ttl)),
    "shuffle": lambda wire: Shuffle(wire.origin, _read_nodes(wire), _hops(wire.ttl)),
    "shuffle_reply": lambda wire: ShuffleReply(_read_nodes(wire)),
    "neighbor": _read_neighbor,
    "disconnect": _read_disconnect,
    "payload": _read_payload,
    "prune": lambda wire: Prune(),
    "graft": lambda wire: Graft(_read_id(wire.id) if wire.HasField("id") else None, _hops(wire.round)),
    "i_have": lambda wire: IHave(tuple(Announcement(_read_id(entry.id), _hops(entry.round)) for entry in wire.entries)),
    "ping": lambda wire: Ping(wire.nonce),
    "pong": lambda wire: Pong(wire.nonce),
    "not_held": lambda wire: NotHeld(_read_id(wire.id)),
    "digest": lambda wire: Digest(_read_held(wire), wire.answer),
    "fetch": _read_fetch,
    "history_request": lambda wire: HistoryRequest(wire.latest),
    "summary": lambda wire: Summary(_read_held(wire)),
}
