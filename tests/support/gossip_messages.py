"""Any gossip message, for property tests."""

from hypothesis import strategies as st

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
from tests.support.envelopes import U32, U64

NUMBERS = st.integers(1, 2**64 - 1)
HOPS = st.integers(0, ROUND_MAX)
DATA = st.none() | st.binary(max_size=20)


def bodies(
    peers: st.SearchStrategy[int] = U32,
    numbers: st.SearchStrategy[int] = NUMBERS,
    lives: st.SearchStrategy[int] = U64,
) -> st.SearchStrategy[Body]:
    """Any body whose peers and numbers come from the given strategies."""
    stamps = st.builds(Stamp, peers, lives, numbers)
    keys: st.SearchStrategy[MessageId] = stamps | st.binary(min_size=32, max_size=32)
    infos = st.builds(PeerInfo, peers, DATA)
    nodes = st.lists(infos, max_size=9).map(tuple)
    held = st.lists(st.builds(Held, peers, lives, numbers, numbers), max_size=4).map(tuple)
    ranges = st.tuples(peers, lives, numbers, numbers).map(lambda t: Wanted(*t[:2], min(t[2:]), max(t[2:])))
    return st.one_of(
        st.builds(Join, DATA),
        st.builds(ForwardJoin, infos, HOPS),
        st.builds(Shuffle, peers, nodes, HOPS),
        st.builds(ShuffleReply, nodes),
        st.builds(Neighbor, st.sampled_from(Priority), DATA, st.none() | st.booleans()),
        st.builds(Disconnect, st.booleans(), st.sampled_from(Reason)),
        st.builds(Gossip, keys, st.binary(max_size=30), st.none() | HOPS, st.binary(max_size=65), st.booleans()),
        st.just(Prune()),
        st.builds(Graft, st.none() | keys, HOPS),
        st.builds(IHave, st.lists(st.builds(Announcement, keys, HOPS), max_size=4).map(tuple)),
        st.builds(Ping, U64),
        st.builds(Pong, U64),
        st.builds(NotHeld, keys),
        st.builds(Digest, held, st.booleans()),
        st.builds(Fetch, st.lists(ranges, max_size=4).map(tuple)),
        st.builds(HistoryRequest, U32),
        st.builds(Summary, held),
    )


def messages() -> st.SearchStrategy[Message]:
    """Any message."""
    return st.builds(Message, st.binary(min_size=TOPIC_BYTES, max_size=TOPIC_BYTES), bodies())
