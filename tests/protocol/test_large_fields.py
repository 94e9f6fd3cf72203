"""A message is cut in two and is the same as before, or is left to the real parser."""

from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.large_fields import FIELDS_MAX, cut, head_of
from rmb_peer.protocol.pb.envelope_pb2 import Envelope

PAYLOADS = (13, 14)

ENVELOPES = st.builds(
    Envelope,
    uid=st.text(max_size=20),
    timestamp=st.integers(0, 2**64 - 1),
    expiration=st.integers(0, 2**64 - 1),
    signature=st.binary(max_size=200),
    relays=st.lists(st.text(max_size=5), max_size=3),
)


@given(ENVELOPES, st.binary(max_size=400), st.sampled_from(("plain", "cipher")))
def test_an_envelope_is_cut_in_two(envelope: Envelope, payload: bytes, member: str) -> None:
    """The rest is the envelope without its payload, and the payload is not copied."""
    light = envelope.SerializeToString(deterministic=True)
    setattr(envelope, member, payload)
    data = envelope.SerializeToString(deterministic=True)
    pieces = cut(data, PAYLOADS)
    assert pieces is not None
    assert pieces.rest == light
    assert (pieces.number, bytes(pieces.content)) == (PAYLOADS[member == "cipher"], payload)
    assert pieces.whole is data
    assert Envelope.FromString(light + head_of(pieces.number, len(payload)) + payload) == envelope


def test_what_has_no_payload_or_two_is_left_alone() -> None:
    """None, two that merge, and two members of which the last counts: the real parser decides."""
    assert cut(Envelope(uid="x").SerializeToString(), PAYLOADS) is None
    one, other = Envelope(plain=b"a").SerializeToString(), Envelope(cipher=b"b").SerializeToString()
    assert cut(one + one, PAYLOADS) is None
    assert cut(one + other, PAYLOADS) is None


def test_no_more_fields_than_the_limit_are_walked_over() -> None:
    """A frame full of tiny fields does not cost a microsecond for each of its bytes."""
    payload = Envelope(plain=b"a").SerializeToString()
    field = Envelope(timestamp=1).SerializeToString()
    assert cut(field * (FIELDS_MAX - 1) + payload, PAYLOADS) is not None
    assert cut(field * FIELDS_MAX + payload, PAYLOADS) is None


@given(st.binary(max_size=60))
def test_noise_is_no_problem(noise: bytes) -> None:
    """Any bytes give two pieces that are all of them, or nothing."""
    pieces = cut(noise, PAYLOADS)
    if pieces is not None:
        assert len(pieces.rest) + len(pieces.content) < len(noise)
