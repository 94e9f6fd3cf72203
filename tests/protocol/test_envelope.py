"""Envelopes: wire vectors, the receiving peer's checks of spec 2.5, sealing, and what relays make themselves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.challenge import challenge, challenge_text
from rmb_peer.protocol.envelope import (
    MESSAGE_BYTES_MAX,
    Envelope,
    destination_of,
    error_reply,
    is_fail_fast,
    open_payload,
    parse_envelope,
    relay_error,
    seal_and_sign,
    source_of,
    turn_ping,
    verify_envelope,
)
from rmb_peer.protocol.errors import (
    CannotDecrypt,
    CannotEncrypt,
    InvalidPayloadData,
    InvalidSignature,
    MessageExpired,
    SenderHasNoPublicKey,
)
from rmb_peer.protocol.lifetime import envelope_ttl_s
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType
from tests.support.envelopes import changed, envelopes, slow_challenge_text
from tests.support.vectors import VECTORS, envelope_of, identity_of, signed_vector

NOW_S = 1_700_000_000
A, B = identity_of("A"), identity_of("B")
A_ED = identity_of("A", "ed25519")


def vector_envelope(name: str, key_type: str = "ed25519") -> Envelope:
    vector = signed_vector(name)
    envelope = envelope_of(vector["fields"])
    envelope.signature = bytes.fromhex(vector["signatures"][key_type])
    return envelope


WIRE = bytes.fromhex(signed_vector("request")["wire_ed25519"])


# --- wire vectors -----------------------------------------------------------------------------------------------------


def test_request_vector_on_the_wire() -> None:
    """Vector A.3: 187 bytes, read and written."""
    assert len(WIRE) == 187
    assert parse_envelope(WIRE) == vector_envelope("request")
    assert vector_envelope("request").SerializeToString() == WIRE
    verify_envelope(parse_envelope(WIRE), A_ED.account)


@pytest.mark.parametrize("vector", VECTORS["unsigned_envelopes"], ids=lambda vector: vector["name"])
def test_unsigned_vectors_on_the_wire(vector: dict[str, Any]) -> None:
    """Vector A.6: relay error, ping and pong, read and written; empty sub-messages stay present (spec 2.2)."""
    envelope, wire = envelope_of(vector["fields"]), bytes.fromhex(vector["wire"])
    assert envelope.SerializeToString() == wire
    assert parse_envelope(wire) == envelope


@pytest.mark.parametrize(
    ("name", "key_type"),
    [(vector["name"], key_type) for vector in VECTORS["signed_envelopes"] for key_type in vector["signatures"]],
)
def test_signed_vectors_verify(name: str, key_type: KeyType) -> None:
    """Vectors A.3 to A.5 (appendix C 2: with `federation`, `relays` and `connection`), after a trip over the wire."""
    envelope = parse_envelope(vector_envelope(name, key_type).SerializeToString())
    verify_envelope(envelope, identity_of("A", key_type).account)


def test_signed_envelope_with_empty_tags_verifies() -> None:
    """Appendix C 2: TypeScript clients always send `tags`, empty; it is kept and adds nothing (spec 9 row 8)."""
    envelope = vector_envelope("response-with-deprecated-fields")
    envelope.tags = ""
    again = parse_envelope(envelope.SerializeToString())
    assert again.HasField("tags")
    verify_envelope(again, A_ED.account)


def test_fields_in_any_order_are_read() -> None:
    """Rust writes the oneofs last, others ascending: a parser takes any order (spec 2.2 rule 1)."""
    parts = [b"", *(Envelope(**{name: getattr(vector_envelope("request"), name)}).SerializeToString() for name in (
        "uid", "tags", "timestamp", "expiration", "source", "destination", "request", "signature", "schema", "plain"
    ))]  # fmt: skip
    assert b"".join(parts) == WIRE
    assert parse_envelope(b"".join(reversed(parts))) == parse_envelope(WIRE)


def test_unknown_fields_are_kept() -> None:
    """A field of a later version survives a relay that parses and writes, and does not fail (spec 2.2 rule 5)."""
    later = b"\xfa\x01\x03abc"  # field 31, three bytes
    envelope = parse_envelope(later + WIRE)
    verify_envelope(envelope, A_ED.account)
    assert envelope.SerializeToString() == WIRE + later


def test_once_is_unknown_to_others() -> None:
    """Field 18 changes no byte of the rest and nothing in what is signed."""
    envelope = parse_envelope(WIRE)
    envelope.once = bytes(range(16))
    assert envelope.SerializeToString() == WIRE + b"\x92\x01\x10" + bytes(range(16))
    verify_envelope(envelope, A_ED.account)


@given(envelopes())
def test_round_trip(envelope: Envelope) -> None:
    """Every mixture of absent, empty and filled fields survives the wire, presence included."""
    again = parse_envelope(envelope.SerializeToString())
    assert again == envelope
    assert [field.name for field, _ in again.ListFields()] == [field.name for field, _ in envelope.ListFields()]


# --- noise and changed bytes ------------------------------------------------------------------------------------------

BAD_WIRE = {
    "text": b"hello",
    "json": b'{"uid":"1"}',
    "cut": WIRE[:-1],
    "bad-utf-8-uid": b"\x0a\x01\xff",
    "surrogate-in-uid": b"\x0a\x03\xed\xa0\x80",
    "overlong-utf-8": b"\x0a\x02\xc0\x80",
    "length-beyond-end": b"\x0a\xff\xff\xff\xff\x0f",
    "endless-varint": b"\x18" + b"\xff" * 11,
    "field-number-0": b"\x02\x00",
    "group-never-ends": b"\xfb\x01" * 10,
    "nested-groups": b"\xfb\x01" * 100_000 + b"\xfc\x01" * 100_000,
}


@pytest.mark.parametrize("data", BAD_WIRE.values(), ids=BAD_WIRE.keys())
def test_row_2_of_2_5_no_envelope(data: bytes) -> None:
    """Bytes that are no envelope are error 101 (spec 2.5 row 2, 2.2 rule 2)."""
    with pytest.raises(InvalidPayloadData, match=r"^invalid message payload data: ") as caught:
        parse_envelope(data)
    assert caught.value.code == 101


def test_the_empty_message_is_an_envelope() -> None:
    """Zero bytes are an envelope without any field: nobody's, to nobody, of no kind."""
    envelope = parse_envelope(b"")
    assert (source_of(envelope), destination_of(envelope)) == (Address(0), Address(0))
    assert envelope.WhichOneof("message") is None


def test_crafted_bytes_read_two_ways_are_refused_or_mean_the_same() -> None:
    """A doubled address is merged and a too wide number is cut; the challenge is made of what was read (DESIGN.md)."""
    doubled = parse_envelope(WIRE + b"\x32\x02\x08\x2b")  # destination again: twin 43
    assert destination_of(doubled) == Address(43, "abc")
    with pytest.raises(InvalidSignature):
        verify_envelope(doubled, A_ED.account)
    wide = parse_envelope(WIRE.replace(b"\x2a\x02\x08\x07", b"\x2a\x07\x08\x87\x80\x80\x80\x80\x01"))  # 7 + 2^35
    assert source_of(wide) == Address(7)
    verify_envelope(wide, A_ED.account)


@given(st.binary(max_size=300) | changed(WIRE))
def test_noise_never_crashes(data: bytes) -> None:
    """Whatever arrives is error 101, or an envelope that every reader takes or refuses with its own error."""
    try:
        envelope = parse_envelope(data)
    except InvalidPayloadData:
        return
    challenge_text(envelope)
    str(source_of(envelope)), str(destination_of(envelope))
    is_fail_fast(envelope)
    turn_ping(envelope).SerializeToString()
    relay_error(envelope.uid, "x", NOW_S, source_of(envelope)).SerializeToString()
    error_reply(envelope, 104, "x").SerializeToString()
    with pytest.raises(InvalidSignature):
        verify_envelope(envelope, B.account)
    try:
        open_payload(envelope, B.encryption, A.public_key)
    except CannotDecrypt:
        assert envelope.WhichOneof("payload") == "cipher"


@given(envelopes(), st.sampled_from(KEY_TYPES), st.data())
def test_a_changed_byte_is_refused_unless_not_covered(
    envelope: Envelope, key_type: KeyType, data: st.DataObject
) -> None:
    """After any change: no envelope, or it verifies exactly if challenge and signature are what they were (spec 2.6).

    What is not covered therefore is only: the kind, the payload member, unknown fields, `once`, other encodings of the
    same values, and bytes that moved between neighbours of the concatenation.
    """
    signer = identity_of("C", key_type).signer
    envelope.signature = signer.sign(challenge(envelope))
    before = (slow_challenge_text(envelope), envelope.signature)
    try:
        damaged = parse_envelope(data.draw(changed(envelope.SerializeToString())))
    except InvalidPayloadData:
        return
    if (slow_challenge_text(damaged), damaged.signature) == before:
        verify_envelope(damaged, signer.account)
    else:
        with pytest.raises(InvalidSignature):
            verify_envelope(damaged, signer.account)


def test_every_single_byte_of_the_request_vector() -> None:
    """All 47,685 one-byte changes of vector A.3: three are not covered, all by moving content to a neighbour."""
    original = parse_envelope(WIRE)
    before = (slow_challenge_text(original), original.signature)
    survivors = {}
    for at, byte in ((at, byte) for at in range(len(WIRE)) for byte in range(256) if byte != WIRE[at]):
        try:
            damaged = parse_envelope(WIRE[:at] + bytes([byte]) + WIRE[at + 1 :])
        except InvalidPayloadData:
            continue
        if (slow_challenge_text(damaged), damaged.signature) == before:
            verify_envelope(damaged, A_ED.account)
            survivors[at, byte] = damaged
    schema_tag, payload_tag = WIRE.index(b"\x52\x10app"), WIRE.index(b'\x6a\x07{"a"')
    assert survivors.keys() == {(schema_tag, 0x5A), (payload_tag, 0x72), (payload_tag, 0x5A)}
    assert survivors[schema_tag, 0x5A].federation == "application/json"
    assert survivors[payload_tag, 0x72].cipher == b'{"a":1}'
    assert survivors[payload_tag, 0x5A].federation == '{"a":1}'


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_every_single_bit_of_a_signed_envelope(key_type: KeyType) -> None:
    """Each turned bit of a signed request is refused, but for those that the challenge does not see."""
    signer = identity_of("A", key_type).signer
    envelope = envelope_of(signed_vector("request")["fields"])
    envelope.signature = signer.sign(challenge(envelope))
    whole = envelope.SerializeToString()
    verified = []
    for bit in range(len(whole) * 8):
        try:
            damaged = parse_envelope((int.from_bytes(whole) ^ (1 << bit)).to_bytes(len(whole)))
            verify_envelope(damaged, signer.account)
        except (InvalidPayloadData, InvalidSignature):
            continue
        verified.append(damaged)
    assert [(damaged.federation, damaged.WhichOneof("payload")) for damaged in verified] == [
        ("application/json", "plain")  # tag 10 to tag 11; the others differ in more than one bit
    ]


# --- spec 2.5, the rows that the core covers; the rest is the gateway's -----------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "expiration", "lives"),
    [(NOW_S, 300, True), (NOW_S - 299, 300, True), (NOW_S - 300, 300, False), (NOW_S, 0, False), (0, 300, False)],
)
def test_row_3_of_2_5_lifetime(timestamp: int, expiration: int, lives: bool) -> None:
    """A message lives while a second of its lifetime is left."""
    assert (envelope_ttl_s(Envelope(timestamp=timestamp, expiration=expiration), NOW_S) is not None) is lives


@pytest.mark.parametrize("kind", ["request", "response", "error", "ping", "pong"])
def test_row_4_of_2_5_unsigned_without_source(kind: str) -> None:
    """Appendix C 18: an unsigned envelope of nobody never verifies, whatever its kind (spec 10.1)."""
    envelope = Envelope(uid="u", timestamp=NOW_S, expiration=300)
    getattr(envelope, kind).SetInParent()
    assert source_of(envelope).twin == 0
    with pytest.raises(InvalidSignature, match="message is not signed"):
        verify_envelope(envelope, A.account)


def test_row_6_of_2_5_absent_signature() -> None:
    """Spec 2.7 row 1: absent is `message is not signed`, empty is a wrong length (spec 9 row 16)."""
    envelope = vector_envelope("request")
    envelope.ClearField("signature")
    with pytest.raises(InvalidSignature) as absent:
        verify_envelope(envelope, A_ED.account)
    assert str(absent.value) == "invalid envelope signature: message is not signed"
    envelope.signature = b""
    with pytest.raises(InvalidSignature) as empty:
        verify_envelope(envelope, A_ED.account)
    assert str(empty.value) == "invalid envelope signature: invalid signature length, expected: 65, found: 0"


def test_row_6_of_2_5_signature_of_another() -> None:
    """A signature verifies only for the twin that made it."""
    with pytest.raises(InvalidSignature, match=r"^invalid envelope signature: ed25519 signature verification failed$"):
        verify_envelope(vector_envelope("request"), identity_of("B", "ed25519").account)


def test_row_7_of_2_5_sender_without_key() -> None:
    """A cipher from a twin that publishes no key is error 105."""
    with pytest.raises(SenderHasNoPublicKey) as caught:
        open_payload(vector_envelope("response-with-deprecated-fields"), B.encryption, None)
    assert (caught.value.code, str(caught.value)) == (105, "sender twin has no public key")


def test_row_7_of_2_5_cipher_that_does_not_open() -> None:
    """A cipher for somebody else is error 106."""
    with pytest.raises(CannotDecrypt) as caught:
        open_payload(vector_envelope("response-with-deprecated-fields"), identity_of("C").encryption, A.public_key)
    assert (caught.value.code, str(caught.value)) == (106, "e2e error: invalid cipher data")


def test_row_7_of_2_5_cipher_opens() -> None:
    """Vector A.4: the payload in clear."""
    assert (
        open_payload(vector_envelope("response-with-deprecated-fields"), B.encryption, A.public_key) == b"hello world"
    )


@pytest.mark.parametrize("sender_key", [None, A.public_key], ids=["without-key", "with-key"])
@pytest.mark.parametrize("payload", [None, b"", b"x"])
def test_plain_is_accepted_at_any_time(payload: bytes | None, sender_key: bytes | None) -> None:
    """Plain payloads, and none, need no key of the sender (spec 3.6)."""
    envelope = Envelope() if payload is None else Envelope(plain=payload)
    assert open_payload(envelope, B.encryption, sender_key) == (payload or b"")


# --- sealing and signing ----------------------------------------------------------------------------------------------


def request(payload: bytes | None = b"secret", **fields: object) -> Envelope:
    envelope = Envelope(uid="u", expiration=300, **fields)  # type: ignore[arg-type]
    Address(7).write_to(envelope.source)
    Address(42).write_to(envelope.destination)
    envelope.request.command = "echo"
    if payload is not None:
        envelope.plain = payload
    return envelope


@pytest.mark.parametrize("receiver_key", [None, B.public_key], ids=["plain", "sealed"])
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_what_leaves_can_be_read(key_type: KeyType, receiver_key: bytes | None) -> None:
    """Appendix C 17: sealed exactly when the receiver publishes a key; signed by either scheme; readable there."""
    sender = identity_of("A", key_type)
    envelope = request()
    seal_and_sign(envelope, sender.signer, sender.encryption, receiver_key, NOW_S)
    arrived = parse_envelope(envelope.SerializeToString())
    verify_envelope(arrived, sender.account)
    assert arrived.WhichOneof("payload") == ("plain" if receiver_key is None else "cipher")
    assert (b"secret" in arrived.SerializeToString()) is (receiver_key is None)
    assert open_payload(arrived, B.encryption, sender.public_key) == b"secret"
    assert (arrived.timestamp, arrived.expiration) == (NOW_S, 300)


def test_an_absent_payload_is_sealed_as_28_bytes() -> None:
    """Appendix C 17: errors to a twin with a key carry the empty text, sealed (spec 3.6)."""
    envelope = request(payload=None)
    seal_and_sign(envelope, A.signer, A.encryption, B.public_key, NOW_S)
    assert len(envelope.cipher) == 28
    assert open_payload(envelope, B.encryption, A.public_key) == b""


def test_an_absent_payload_stays_absent_without_key() -> None:
    """Nothing is added for a twin that wants plain payloads."""
    envelope = request(payload=None)
    seal_and_sign(envelope, A.signer, A.encryption, None, NOW_S)
    assert envelope.WhichOneof("payload") is None


def test_stamped_before_it_is_signed() -> None:
    """What was waiting keeps its deadline, and the signature covers the stamped times (spec 5.5)."""
    envelope = request(timestamp=NOW_S - 100)
    seal_and_sign(envelope, A.signer, A.encryption, None, NOW_S)
    assert (envelope.timestamp, envelope.expiration) == (NOW_S, 200)
    verify_envelope(envelope, A.account)


def test_signed_anew_after_waiting() -> None:
    """A plain message may be signed again later: same payload, same deadline, another signature."""
    envelope = request()
    seal_and_sign(envelope, A.signer, A.encryption, None, NOW_S)
    first = envelope.signature
    seal_and_sign(envelope, A.signer, A.encryption, None, NOW_S + 10)
    assert envelope.signature != first
    assert (envelope.timestamp, envelope.expiration, envelope.plain) == (NOW_S + 10, 290, b"secret")
    verify_envelope(envelope, A.account)


@pytest.mark.parametrize("timestamp", [NOW_S - 300, NOW_S - 301, 1])
def test_an_expired_message_is_neither_sealed_nor_signed(timestamp: int) -> None:
    """Error 102, before any cryptography; the payload is still there for whoever reports it."""
    envelope = request(timestamp=timestamp)
    with pytest.raises(MessageExpired):
        seal_and_sign(envelope, A.signer, A.encryption, B.public_key, NOW_S)
    assert not envelope.HasField("signature")
    assert envelope.plain == b"secret"


def test_a_receiver_whose_key_is_no_key() -> None:
    """Nothing is sent in clear instead: the program that sends hears of it (spec 3.6)."""
    envelope = request()
    with pytest.raises(CannotEncrypt) as caught:
        seal_and_sign(envelope, A.signer, A.encryption, b"\x02" + b"\xff" * 32, NOW_S)
    assert caught.value.code == 106
    assert not envelope.HasField("signature")
    assert envelope.plain == b"secret"


def test_sealing_twice_is_a_mistake_of_ours() -> None:
    """A sealed payload cannot be sealed again: that would silently send the empty text."""
    envelope = request()
    seal_and_sign(envelope, A.signer, A.encryption, B.public_key, NOW_S)
    with pytest.raises(AssertionError, match="sealed already"):
        seal_and_sign(envelope, A.signer, A.encryption, B.public_key, NOW_S)


def test_lifetime_beyond_64_bits_cannot_leave() -> None:
    """A sum of 2^64 counts as expired on the sending side as well (spec 2.4)."""
    envelope = request()
    envelope.expiration = 2**64 - 1
    with pytest.raises(MessageExpired):
        seal_and_sign(envelope, A.signer, A.encryption, None, NOW_S)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_error_reply_follows_the_request() -> None:
    """uid, receiver with session, and lifetime are the request's; tags are not copied (spec 5.9)."""
    asked = parse_envelope(WIRE)
    Address(7, "js").write_to(asked.source)
    reply = error_reply(asked, 104, "text")
    expected = Envelope(uid=asked.uid, expiration=300)
    Address(7, "js").write_to(expected.destination)
    expected.error.code, expected.error.message = 104, "text"
    assert reply == expected


@pytest.mark.parametrize(
    ("asked", "explicit", "given_"),
    [
        pytest.param(60, None, 60, id="the-requests"),
        pytest.param(60, 300, 300, id="explicit"),
        pytest.param(0, None, 300, id="none-becomes-300"),
        pytest.param(1801, None, 1800, id="capped"),
        pytest.param(2**64 - 1, None, 1800, id="largest-is-capped"),
    ],
)
def test_error_reply_can_always_be_sent(asked: int, explicit: int | None, given_: int) -> None:
    """No lifetime of a request, 0 and 2^64-1 included, makes its error unsendable."""
    reply = error_reply(Envelope(uid="u", expiration=asked), 102, "text", explicit)
    assert reply.expiration == given_
    Address(42).write_to(reply.source)
    seal_and_sign(reply, A.signer, A.encryption, None, NOW_S)
    verify_envelope(reply, A.account)


def test_relay_error_vector() -> None:
    """Appendix C 6, vector A.6: no source, no signature, no payload, code 0, 300 seconds (spec 6.3)."""
    made = relay_error("u-1", "destination offline", 1_700_000_003, Address(7))
    assert made.SerializeToString().hex() == VECTORS["unsigned_envelopes"][0]["wire"]
    assert {field.name for field, _ in made.ListFields()} == {"uid", "timestamp", "expiration", "destination", "error"}


def test_relay_error_names_the_session() -> None:
    """A requester with a session is addressed with it; an empty session stays empty."""
    assert destination_of(relay_error("u", "t", 1, Address(7, ""))) == Address(7, "")
    assert destination_of(relay_error("u", "t", 1, Address(7, "js"))) == Address(7, "js")


def test_relay_error_of_federation_has_no_destination() -> None:
    """Errors that come back from another relay carry no destination field (spec 6.8)."""
    made = relay_error("u", "message has expired", 1, None)
    assert not made.HasField("destination")
    assert not made.HasField("source")


# --- ping and pong ----------------------------------------------------------------------------------------------------

PING, PONG = (envelope_of(vector["fields"]) for vector in VECTORS["unsigned_envelopes"][1:])


def test_ping_vector_becomes_the_pong_vector() -> None:
    """Appendix C 7, vector A.6: byte for byte."""
    assert turn_ping(PING).SerializeToString() == PONG.SerializeToString()


def test_pong_goes_to_the_same_session() -> None:
    """Appendix C 7: the pong is addressed to exactly the session that sent the ping."""
    assert destination_of(turn_ping(PING)) == Address(7, "js") == source_of(PING)


def test_ping_with_payload() -> None:
    """Appendix C 7: the text is appended to what was there (spec 6.5)."""
    ping = Envelope.FromString(PING.SerializeToString())
    ping.plain = b"\x00\xff and "
    assert turn_ping(ping).plain == b"\x00\xff and hello world"
    assert ping.plain == b"\x00\xff and "


def test_ping_with_sealed_payload() -> None:
    """A relay cannot open it: it is discarded, and the pong carries the text alone (spec 6.5)."""
    ping = Envelope.FromString(PING.SerializeToString())
    ping.cipher = b"x" * 40
    pong = turn_ping(ping)
    assert pong.WhichOneof("payload") == "plain"
    assert pong.plain == b"hello world"


@given(envelopes())
def test_everything_else_of_a_ping_stays(ping: Envelope) -> None:
    """Addresses change places, absent ones included; the rest, a stale signature too, is untouched (spec 6.5)."""
    ping.ping.SetInParent()
    before = ping.SerializeToString()
    pong = turn_ping(ping)
    assert ping.SerializeToString() == before
    assert pong.WhichOneof("message") == "pong"
    for here, there in (("source", "destination"), ("destination", "source")):
        assert pong.HasField(here) == ping.HasField(there)
        assert getattr(pong, here) == getattr(ping, there)
    for envelope in (ping, pong):
        for name in ("source", "destination", "ping", "pong", "plain", "cipher"):
            envelope.ClearField(name)
    assert pong == ping


# --- tags and limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "asked"),
    [
        ("fail-fast", True),
        ("a,fail-fast b", True),
        ("a fail-fast", True),
        ("a,,fail-fast,", True),
        ("a\tfail-fast\nb", True),
        ("a\u00a0fail-fast", True),
        ("a\u2003fail-fast\u3000b", True),
        ("a\u0085fail-fast", True),
        ("", False),
        ("Fail-Fast", False),
        ("fail-fastx", False),
        ("xfail-fast", False),
        ("fail-fast;b", False),
        ("fail_fast", False),
        ("fail fast", False),
        ("a\x1ffail-fast", False),
        ("a\u200bfail-fast", False),
    ],
    ids=repr,
)
def test_fail_fast(tags: str, asked: bool) -> None:
    """Appendix C 10: one token between commas and Unicode white space, exactly (spec 6.6)."""
    assert is_fail_fast(Envelope(tags=tags)) is asked


def test_no_tags_are_not_fail_fast() -> None:
    """An envelope without tags waits in the mailbox."""
    assert not is_fail_fast(Envelope())


def test_message_limit() -> None:
    """One WebSocket frame of the existing programs (spec 2.2 rule 7)."""
    assert MESSAGE_BYTES_MAX == 16 * 1024 * 1024
