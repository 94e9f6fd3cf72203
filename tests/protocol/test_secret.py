"""From a secret to the mini-secret: the vectors, every way to be wrong, and nothing of the secret in a text."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.errors import BadSecret
from rmb_peer.protocol.secret import MINI_SECRET_BYTES, mini_secret, mnemonic_of
from tests.support.vectors import VECTORS

WORDS = VECTORS["keys"]["B"]["secret"]
SEED = VECTORS["keys"]["A"]["secret"]


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_vectors(name: str) -> None:
    """Vector A.1: PBKDF2 over the entropy, or the seed as it is."""
    vector = VECTORS["keys"][name]
    assert mini_secret(vector["secret"]).hex() == vector["mini_secret"]


@pytest.mark.parametrize("name", ["B", "C"])
def test_words_of_the_vectors_entropy(name: str) -> None:
    """Vector A.1: entropy gives the words."""
    vector = VECTORS["keys"][name]
    assert mnemonic_of(bytes.fromhex(vector["entropy"])) == vector["secret"]


@pytest.mark.parametrize("size", [16, 20, 24, 28, 32])
def test_all_word_counts(size: int) -> None:
    """12, 15, 18, 21 and 24 words are accepted (spec 3.1)."""
    words = mnemonic_of(bytes(range(size)))
    assert len(words.split()) == size * 3 // 4
    assert len(mini_secret(words)) == MINI_SECRET_BYTES


def test_white_space_does_not_count() -> None:
    """A pasted line break or double space changes nothing."""
    assert mini_secret("\n" + WORDS.replace(" ", " \n\t") + " ") == mini_secret(WORDS)
    assert mini_secret(f" {SEED}\n") == mini_secret(SEED)


def test_a_seed_in_upper_case() -> None:
    """Hex digits of either case are the same seed."""
    assert mini_secret("0x" + SEED[2:].upper()) == mini_secret(SEED)


WRONG = {
    "empty": ("", "this one has 0"),
    "eleven-words": (" ".join(WORDS.split()[1:]), "this one has 11"),
    "thirteen-words": (WORDS + " silk", "this one has 13"),
    "unknown-word": (WORDS.replace("dawn", "dawnx"), "word 4 of the mnemonic is not in the BIP-39 English list"),
    "upper-case-word": (WORDS.replace("dawn", "Dawn"), "word 4 of the mnemonic is not"),
    "wrong-checksum": (WORDS.replace("silk", "silly"), "checksum does not match"),
    "swapped-words": (" ".join([*WORDS.split()[1:], WORDS.split()[0]]), "checksum does not match"),
    "dev-account": ("//Alice", "derivation paths and passwords"),
    "hard-path": (WORDS + "//hard", "derivation paths and passwords"),
    "soft-path": (WORDS + "/soft", "derivation paths and passwords"),
    "password": (WORDS + "///password", "derivation paths and passwords"),
    "short-seed": (SEED[:-1], "0x followed by 64 hex digits"),
    "long-seed": (SEED + "0", "0x followed by 64 hex digits"),
    "no-hex": (SEED[:-1] + "g", "0x followed by 64 hex digits"),
    "space-in-seed": (SEED[:30] + " " + SEED[31:], "0x followed by 64 hex digits"),
    "seed-with-path": (SEED + "//hard", "without a derivation path"),
    "seed-without-0x": (SEED[2:], "this one has 1"),
    "no-text": ("\udcff" * 12, "this one has 1"),
}


@pytest.mark.parametrize(("secret", "text"), WRONG.values(), ids=WRONG.keys())
def test_wrong_secrets(secret: str, text: str) -> None:
    """Each is refused with what is wrong, and without any word or digit of it (spec 3.1)."""
    with pytest.raises(BadSecret, match=text) as caught:
        mini_secret(secret)
    shown = str(caught.value)
    assert not any(part in shown for part in (*WORDS.split(), "dawnx", "Alice", "hard", SEED[2:20], "\udcff"))
    assert caught.value.__cause__ is None


@given(st.binary(min_size=16, max_size=32).filter(lambda raw: len(raw) % 4 == 0))
def test_new_mnemonics_are_secrets(entropy: bytes) -> None:
    """Every entropy of a valid size gives words that are accepted."""
    assert len(mini_secret(mnemonic_of(entropy))) == MINI_SECRET_BYTES


@given(st.text(st.characters()) | st.lists(st.sampled_from([*WORDS.split(), "0x", "/"]), max_size=25).map(" ".join))
def test_noise_never_crashes(secret: str) -> None:
    """Any text is 32 bytes or BadSecret."""
    with suppress(BadSecret):
        assert len(mini_secret(secret)) == MINI_SECRET_BYTES
