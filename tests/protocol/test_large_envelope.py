"""Large payloads are sealed, signed, verified and opened exactly as others."""

import os

import pytest

from rmb_peer.protocol.encryption import NONCE_BYTES
from rmb_peer.protocol.envelope import Envelope, open_payload, parse_envelope, seal_and_sign, verify_envelope
from rmb_peer.protocol.errors import CannotDecrypt, InvalidPayloadData, InvalidSignature, MessageExpired
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.large_envelope import (
    CIPHER_FIELD,
    LARGE_BYTES,
    PAYLOAD_FIELDS,
    PLAIN_FIELD,
    destination_twin,
    for_routing,
    open_large,
    seal_and_sign_large,
    source_twin,
    verify_large,
)
from rmb_peer.protocol.large_fields import cut

NOW_S = 1_700_000_000
PAYLOAD = os.urandom(LARGE_BYTES + 1)


@pytest.fixture(scope="module")
def pair() -> tuple[Identity, Identity]:
    """Two twins."""
    a, b = (Identity.from_secret("0x" + bytes([n] * 32).hex(), "sr25519", os.urandom) for n in (1, 2))
    return a, b


def draft() -> Envelope:
    """An envelope with everything that is signed, and an empty payload, as `upstream` makes it."""
    envelope = Envelope(uid="u", tags="t", expiration=60, schema="s", federation="f", relays=["r1", "r2"], plain=b"")
    envelope.source.twin, envelope.destination.twin, envelope.destination.connection = 7, 9, "c"
    envelope.request.command = "cmd"
    return envelope


@pytest.mark.parametrize("sealed", [True, False])
def test_others_can_read_it(pair: tuple[Identity, Identity], sealed: bool) -> None:
    """What is made here verifies and opens with the functions for all envelopes."""
    a, b = pair
    cipher = a.encryption.cipher_to_seal(b.encryption.public_key) if sealed else None
    data = seal_and_sign_large(draft(), PAYLOAD, a.signer, cipher, os.urandom(NONCE_BYTES), NOW_S)
    envelope = parse_envelope(data)
    verify_envelope(envelope, a.signer.account)
    assert envelope.WhichOneof("payload") == ("cipher" if sealed else "plain")
    assert open_payload(envelope, b.encryption, a.encryption.public_key) == PAYLOAD
    assert (envelope.timestamp, list(envelope.relays)) == (NOW_S, ["r1", "r2"])


@pytest.mark.parametrize("sealed", [True, False])
def test_it_reads_what_others_make(pair: tuple[Identity, Identity], sealed: bool) -> None:
    """What was made with the functions for all envelopes verifies and opens here, from its two pieces."""
    a, b = pair
    envelope = draft()
    envelope.plain = PAYLOAD
    seal_and_sign(envelope, a.signer, a.encryption, b.encryption.public_key if sealed else None, NOW_S)
    pieces = cut(envelope.SerializeToString(), PAYLOAD_FIELDS)
    assert pieces is not None
    light = parse_envelope(pieces.rest)
    verify_large(light, pieces.content, a.signer.account)
    assert pieces.number == (CIPHER_FIELD if sealed else PLAIN_FIELD)
    if sealed:
        assert open_large(pieces.content, b.encryption.cipher_to_open(a.encryption.public_key)) == PAYLOAD
    else:
        assert pieces.content == PAYLOAD


def test_what_was_changed_is_refused(pair: tuple[Identity, Identity]) -> None:
    """Another payload, another field, no signature: none verifies; a changed or short cipher does not open."""
    a, b = pair
    cipher = a.encryption.cipher_to_seal(b.encryption.public_key)
    data = seal_and_sign_large(draft(), PAYLOAD, a.signer, cipher, os.urandom(NONCE_BYTES), NOW_S)
    pieces = cut(data, PAYLOAD_FIELDS)
    assert pieces is not None
    light, changed = parse_envelope(pieces.rest), bytearray(pieces.content)
    changed[-1] ^= 1
    with pytest.raises(InvalidSignature):
        verify_large(light, memoryview(changed), a.signer.account)
    with pytest.raises(CannotDecrypt):
        open_large(memoryview(changed), cipher)
    with pytest.raises(CannotDecrypt):
        open_large(memoryview(b"short"), cipher)
    light.uid = "v"
    with pytest.raises(InvalidSignature):
        verify_large(light, pieces.content, a.signer.account)
    light.ClearField("signature")
    with pytest.raises(InvalidSignature, match="not signed"):
        verify_large(light, pieces.content, a.signer.account)


def test_without_a_life_it_is_not_sealed(pair: tuple[Identity, Identity]) -> None:
    """The same error as for others."""
    envelope = draft()
    envelope.expiration = 0
    with pytest.raises(MessageExpired):
        seal_and_sign_large(envelope, PAYLOAD, pair[0].signer, None, b"", NOW_S)


def test_relays_read_everything_but_the_payload() -> None:
    """Addresses and lifetime, from large and small; an envelope ping keeps its payload, as it is sent back."""
    envelope = draft()
    small = envelope.SerializeToString()
    assert for_routing(small) == envelope
    envelope.plain = PAYLOAD
    data = envelope.SerializeToString()
    light = for_routing(data)
    assert (light.plain, light.uid, light.destination.connection) == (b"", "u", "c")
    assert (source_twin(data), destination_twin(data), destination_twin(small)) == (7, 9, 9)
    envelope.ping.SetInParent()
    assert for_routing(envelope.SerializeToString()).plain == PAYLOAD


def test_noise_has_no_address() -> None:
    """What is no envelope belongs to no conversation, and a relay is told so."""
    noise = b"\xff" * (LARGE_BYTES + 1)
    assert source_twin(noise) is None
    assert destination_twin(noise) is None
    with pytest.raises(InvalidPayloadData):
        for_routing(noise)
