"""The key of a relay: one per store, or from a file; never shown."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from relay.identity import IdentityFailed, RelayIdentity, identity_in_file, identity_in_store, signed_by
from relay.keys import IDENTITY
from rmb_peer.protocol.secret import mnemonic_of
from tests.support.services import valkey

# RFC 8032, 7.1, test 2.
SEED = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE_OF_72 = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Redis]:
    async with valkey(tmp_path / "store") as (_, client):
        yield client


def key_file(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "relay.key"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_the_vector_of_the_rfc() -> None:
    """RFC 8032, 7.1, test 2: public key and signature."""
    identity = RelayIdentity(bytes.fromhex(SEED))
    assert identity.public_key.hex() == PUBLIC
    assert identity.sign(b"\x72").hex() == SIGNATURE_OF_72
    assert signed_by(identity.public_key, b"\x72", bytes.fromhex(SIGNATURE_OF_72))


def test_its_text_shows_no_secret() -> None:
    """`repr`, `str` and what it is made of in a log show the public key only."""
    identity = RelayIdentity(bytes.fromhex(SEED))
    assert repr(identity) == f"{identity}" == f"RelayIdentity({PUBLIC})"
    assert not hasattr(identity, "__dict__")


@given(st.binary(max_size=40), st.binary(max_size=20), st.binary(max_size=80))
def test_no_noise_is_a_signature(key: bytes, message: bytes, signature: bytes) -> None:
    """Whatever comes, the answer is a plain no."""
    assert not signed_by(key, message, signature)


@given(st.integers(0, 511))
def test_a_bit_of_a_signature_counts(bit: int) -> None:
    """A signature with one bit turned is none."""
    damaged = (int(SIGNATURE_OF_72, 16) ^ (1 << bit)).to_bytes(64)
    assert not signed_by(bytes.fromhex(PUBLIC), b"\x72", damaged)


async def test_one_key_per_store(store: Redis) -> None:
    """Twenty relays that start at once on an empty store have one key, and so has a later one."""
    found = await asyncio.gather(*(identity_in_store(store) for _ in range(20)))
    later = await identity_in_store(store)
    assert len({identity.public_key for identity in (*found, later)}) == 1


async def test_the_stored_seed(store: Redis) -> None:
    """The store holds the seed in hex, so that an operator can carry it over; it does not expire."""
    await store.set(IDENTITY, SEED)
    assert (await identity_in_store(store)).public_key.hex() == PUBLIC
    assert await store.ttl(IDENTITY) == -1


@pytest.mark.parametrize("held", ["", "12", SEED + "0", "\xff" * 64])
async def test_a_stored_seed_that_is_none(store: Redis, held: str) -> None:
    """It is left alone, and the error says what to do without repeating it."""
    await store.set(IDENTITY, held)
    with pytest.raises(
        IdentityFailed, match=r"^the store's entry relay.identity is not a seed of 64 hex digits"
    ) as info:
        await identity_in_store(store)
    assert not held or held not in str(info.value)
    assert await store.get(IDENTITY) == held.encode()


@pytest.mark.parametrize("text", [SEED, f"{SEED}\n", SEED.upper(), f"0x{SEED}", f"  {SEED}\r\n"])
def test_a_key_file_with_a_seed(tmp_path: Path, text: str) -> None:
    """64 hex digits, with or without 0x and white space around them."""
    assert identity_in_file(key_file(tmp_path, text)).public_key.hex() == PUBLIC


def test_a_key_file_with_words(tmp_path: Path) -> None:
    """What `rmb-peer keys new --out` writes is a key file."""
    identity = identity_in_file(key_file(tmp_path, mnemonic_of(bytes(16)) + "\n"))
    assert identity.public_key != bytes.fromhex(PUBLIC)
    assert identity_in_file(key_file(tmp_path, mnemonic_of(bytes(16)))).public_key == identity.public_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666])
def test_a_key_file_open_to_others(tmp_path: Path, mode: int) -> None:
    """Any permission of group or others is refused, with the mode and what to do."""
    path = key_file(tmp_path, SEED, mode)
    with pytest.raises(IdentityFailed) as info:
        identity_in_file(path)
    assert str(info.value) == f"the key file {path} is open to others (mode {mode:04o}): chmod 600 it"


def test_a_key_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    """0400 is as good as 0600."""
    assert identity_in_file(key_file(tmp_path, SEED, 0o400)).public_key.hex() == PUBLIC


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "holds no key: a mnemonic has"),
        (SEED[:-1].encode(), "holds no key: a mnemonic has"),
        (f"{SEED}//1".encode(), "holds no key: derivation paths"),
        (b"legal winner secretword", "holds no key: a mnemonic has"),
        (b"\xff\xfe", "is not text: expected words or 64 hex digits"),
        (b"a" * 4097, "is longer than 4096 bytes"),
    ],
)
def test_a_key_file_without_a_key(tmp_path: Path, content: bytes, text: str) -> None:
    """A clear text, which repeats nothing of what the file holds."""
    path = key_file(tmp_path, content)
    with pytest.raises(IdentityFailed) as info:
        identity_in_file(path)
    assert str(info.value).startswith(f"the key file {path} {text}")
    assert SEED[:20] not in str(info.value)
    assert "secretword" not in str(info.value)


def test_the_longest_key_file(tmp_path: Path) -> None:
    """4096 bytes are read, white space and all."""
    assert identity_in_file(key_file(tmp_path, SEED.ljust(4096))).public_key.hex() == PUBLIC


def test_no_key_file(tmp_path: Path) -> None:
    """A missing file is not made; the text says how to make one."""
    path = tmp_path / "none.key"
    with pytest.raises(IdentityFailed) as info:
        identity_in_file(path)
    assert str(info.value) == (
        f"cannot read the key file {path}: No such file or directory; `rmb-peer keys new --out {path}` makes one"
    )
    assert not path.exists()


def test_what_is_no_file(tmp_path: Path) -> None:
    """A folder or a FIFO is refused; a FIFO is not waited for."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (fifo, tmp_path):
        with pytest.raises(IdentityFailed, match=r"is not a file$"):
            identity_in_file(path)
