"""What workers do with envelopes: the same as the gateway does without them."""

import contextlib
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.envelope import Envelope, open_payload, parse_envelope, seal_and_sign, verify_envelope
from rmb_peer.protocol.errors import CannotEncrypt, MessageExpired, RmbError, SenderHasNoPublicKey
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType
from rmb_peer.workers.jobs import (
    OPEN,
    SEAL,
    Job,
    Result,
    UnknownJob,
    carry_out,
    decode_keys,
    encode_keys,
    open_job,
    result_of,
    seal_job,
)
from tests.support.gateways import new_identity

NOW_S = int(time.time())
ALICE, BOB = new_identity("ed25519"), new_identity("ed25519")


def draft(payload: bytes = b"hello", expiration: int = 60) -> Envelope:
    envelope = Envelope(uid="u", timestamp=NOW_S, expiration=expiration, plain=payload)
    envelope.request.command = "c"
    envelope.source.twin, envelope.destination.twin = 1, 2
    return envelope


def done(identity: Identity, job: Job) -> Result:
    return result_of(*carry_out(identity, job))


def sealed(receiver_key: bytes | None = BOB.public_key) -> Envelope:
    envelope = draft()
    seal_and_sign(envelope, ALICE.signer, ALICE.encryption, receiver_key, NOW_S)
    return envelope


def inline(envelope: Envelope, account: bytes, key: bytes | None) -> Result:
    try:
        verify_envelope(envelope, account)
        return open_payload(envelope, BOB.encryption, key)
    except RmbError as error:
        return error


def comparable(result: Result) -> object:
    return result if isinstance(result, bytes) else (type(result), result.code, str(result))


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("encrypted", [True, False])
def test_what_a_worker_seals_another_opens(key_type: KeyType, encrypted: bool) -> None:
    """Sealed in one worker and opened in another, the payload is what it was; everything else of the envelope stays."""
    alice, bob = new_identity(key_type), new_identity(key_type)
    data = done(alice, seal_job(draft(), bob.public_key if encrypted else None, NOW_S))
    assert isinstance(data, bytes)
    envelope = parse_envelope(data)
    assert (envelope.WhichOneof("payload") == "cipher") == encrypted
    assert (envelope.uid, envelope.request.command, envelope.expiration) == ("u", "c", 60)
    assert done(bob, open_job(envelope, alice.account, alice.public_key)) == b"hello"


def _unsigned(envelope: Envelope) -> None:
    envelope.ClearField("signature")


def _short(envelope: Envelope) -> None:
    envelope.signature = envelope.signature[:-1]


def _forged(envelope: Envelope) -> None:
    envelope.uid = "another"


def _strange(envelope: Envelope) -> None:
    envelope.signature = b"x" + envelope.signature[1:]


def _damaged(envelope: Envelope) -> None:
    envelope.cipher = envelope.cipher[:-1] + bytes([envelope.cipher[-1] ^ 1])
    seal_and_sign_again(envelope)


def _empty(envelope: Envelope) -> None:
    envelope.cipher = b"short"
    seal_and_sign_again(envelope)


def seal_and_sign_again(envelope: Envelope) -> None:
    from rmb_peer.protocol.challenge import challenge

    envelope.signature = ALICE.signer.sign(challenge(envelope))


@pytest.mark.parametrize("change", [_unsigned, _short, _forged, _strange, _damaged, _empty])
@pytest.mark.parametrize("key", [ALICE.public_key, None, b"no key", b""], ids=["right", "none", "wrong", "empty"])
def test_what_does_not_open_fails_as_without_workers(change: object, key: bytes | None) -> None:
    """Type, code and text of the exception are those of the same calls in this process."""
    envelope = sealed()
    assert callable(change)
    change(envelope)
    there, here = done(BOB, open_job(envelope, ALICE.account, key)), inline(envelope, ALICE.account, key)
    assert isinstance(here, RmbError)
    assert comparable(there) == comparable(here)


def test_other_reasons_fail_as_without_workers() -> None:
    """An account that is no key, a sender without key, a receiver's key that is none, a life that is over."""
    envelope = sealed()
    for account in (BOB.account, b"", b"a" * 100):
        assert comparable(done(BOB, open_job(envelope, account, None))) == comparable(inline(envelope, account, None))
    assert isinstance(done(BOB, open_job(envelope, ALICE.account, None)), SenderHasNoPublicKey)
    with pytest.raises(CannotEncrypt) as caught:
        seal_and_sign(draft(), ALICE.signer, ALICE.encryption, b"no key", NOW_S)
    assert comparable(done(ALICE, seal_job(draft(), b"no key", NOW_S))) == comparable(caught.value)
    assert isinstance(done(ALICE, seal_job(draft(expiration=0), None, NOW_S)), MessageExpired)


@given(st.sampled_from([0, 1, SEAL, OPEN, 255]), st.binary(max_size=200))
def test_noise_is_no_job(kind: int, body: bytes) -> None:
    """Bytes that nobody wrote give a result or `UnknownJob`, nothing else."""
    with contextlib.suppress(UnknownJob):
        result_of(*carry_out(BOB, Job(kind, body)))


@given(st.integers(0, 255), st.binary(max_size=50))
def test_noise_is_no_result(kind: int, body: bytes) -> None:
    """A result that nobody wrote is read or refused, nothing else."""
    with contextlib.suppress(UnknownJob):
        assert isinstance(result_of(kind, body), bytes | RmbError)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_keys_travel_and_are_in_no_text(key_type: KeyType) -> None:
    """The same identity comes out; what is no key is refused without repeating it; `repr` shows no secret."""
    identity = new_identity(key_type)
    again = Identity.from_mini(*decode_keys(encode_keys(identity)), os.urandom)
    assert (again.account, again.public_key, again.signer.key_type) == (
        identity.account,
        identity.public_key,
        key_type,
    )
    assert identity.mini.hex() not in repr(identity)
    assert repr(identity.mini) not in repr(identity)
    for noise in (b"", b"\xff" + bytes(32), encode_keys(identity) + b"1"):
        with pytest.raises(UnknownJob, match=r"^these are no keys$"):
            decode_keys(noise)
