"""Signed records and claims: nothing in them can change unnoticed, and their JSON is read strictly."""

import dataclasses
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.errors import BadRequest, InvalidSignature
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType, verify
from rmb_peer.protocol.twin import Twin
from rmb_peer.protocol.twin_record import VERSION_MAX, SignedTwin, sign_claim, sign_twin, verify_claim
from tests.support.records import twins
from tests.support.vectors import identity_of

A = identity_of("A", "ed25519")
TWIN = Twin(7, A.account, frozenset(("relay.grid.tf", "localhost:4001")), A.public_key, version=3)
RECORD = sign_twin(TWIN, A.signer)
JSON = RECORD.to_json()


def test_json_form() -> None:
    """The object of schemas/registry_record.schema.json: hex in lower case, relays sorted."""
    assert RECORD.to_json() == {
        "id": 7,
        "account": A.account.hex(),
        "relays": ["localhost:4001", "relay.grid.tf"],
        "pk": A.public_key.hex(),
        "version": 3,
        "signature": RECORD.signature.hex(),
    }
    assert SignedTwin.from_json(JSON) == RECORD


def field(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def test_what_a_record_signs() -> None:
    """Stored records outlive releases: label, id, account, version, key, relays, each after its length."""
    with_key = b"".join(
        map(
            field,
            (
                b"rmb-registry-record-1",
                b"7",
                A.account,
                b"3",
                b"pk",
                A.public_key,
                b"2",
                b"localhost:4001",
                b"relay.grid.tf",
            ),
        )
    )
    verify(RECORD.signature, with_key, A.account)
    plain = sign_twin(Twin(7, A.account, frozenset(), None, version=1), A.signer)
    verify(
        plain.signature, b"".join(map(field, (b"rmb-registry-record-1", b"7", A.account, b"1", b"", b"0"))), A.account
    )


def test_what_a_claim_signs() -> None:
    """Label, account and the registry's name, each after its length."""
    signed = b"".join(map(field, (b"rmb-registry-claim-1", A.account, b"localhost:4001")))
    verify(sign_claim(A.signer, "localhost:4001"), signed, A.account)


@given(twins(), st.sampled_from(KEY_TYPES))
def test_round_trip(twin: Twin, key_type: KeyType) -> None:
    """Any record survives JSON and verifies after it."""
    signer = identity_of("C", key_type).signer
    record = sign_twin(dataclasses.replace(twin, account=signer.account), signer)
    again = SignedTwin.from_json(orjson.loads(orjson.dumps(record.to_json())))
    assert again == record
    again.verify()


@given(twins(), twins())
def test_a_signature_belongs_to_one_record(first: Twin, second: Twin) -> None:
    """A signature of one record never verifies for another, whatever differs."""
    first, second = (dataclasses.replace(twin, account=A.account) for twin in (first, second))
    moved = SignedTwin(second, sign_twin(first, A.signer).signature)
    if first == second:
        moved.verify()
    else:
        with pytest.raises(InvalidSignature):
            moved.verify()


CHANGES: dict[str, dict[str, Any]] = {
    "id": {"id": 8},
    "account": {"account": identity_of("B", "ed25519").account},
    "version": {"version": 4},
    "relay-added": {"relays": TWIN.relays | {"evil.tf"}},
    "relay-removed": {"relays": frozenset(("relay.grid.tf",))},
    "no-relays": {"relays": frozenset()},
    "key-removed": {"public_key": None},
    "key-changed": {"public_key": identity_of("B").public_key},
    "id-and-version-swapped": {"id": 3, "version": 7},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_host_cannot_change_a_record(change: dict[str, Any]) -> None:
    """Each field is covered by the twin's own signature."""
    with pytest.raises(InvalidSignature):
        SignedTwin(dataclasses.replace(TWIN, **change), RECORD.signature).verify()


def test_key_and_relays_do_not_run_together() -> None:
    """A record without key cannot be read as one with a key, nor one relay list as another."""
    plain = dataclasses.replace(TWIN, public_key=None, relays=frozenset(("ab", "c")))
    with pytest.raises(InvalidSignature):
        SignedTwin(
            dataclasses.replace(plain, relays=frozenset(("a", "bc"))), sign_twin(plain, A.signer).signature
        ).verify()


def test_only_the_twin_signs_its_record() -> None:
    """Signing somebody else's record is a mistake of ours."""
    with pytest.raises(AssertionError):
        sign_twin(TWIN, identity_of("B", "ed25519").signer)


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_claim(key_type: KeyType) -> None:
    """A claim proves the key of one account to one registry."""
    signer = identity_of("A", key_type).signer
    verify_claim(sign_claim(signer, "relay.grid.tf"), signer.account, "relay.grid.tf")


@pytest.mark.parametrize(
    ("account", "audience"),
    [(A.account, "other.tf"), (A.account, ""), (identity_of("B", "ed25519").account, "relay.tf")],
)
def test_claim_is_of_no_use_elsewhere(account: bytes, audience: str) -> None:
    """Neither for another registry nor for another account."""
    with pytest.raises(InvalidSignature):
        verify_claim(sign_claim(A.signer, "relay.tf"), account, audience)


def test_a_record_is_no_claim() -> None:
    """Labels keep the two kinds of signature apart."""
    with pytest.raises(InvalidSignature):
        verify_claim(RECORD.signature, A.account, "relay.grid.tf")
    with pytest.raises(InvalidSignature):
        SignedTwin(TWIN, sign_claim(A.signer, "relay.grid.tf")).verify()


# --- reading JSON -----------------------------------------------------------------------------------------------------

INTEGERS: list[Any] = [None, True, 0, -1, 1.0, "1", [1], {}]
HEX = [None, 5, "", b"ab"]
WRONG: list[tuple[str, Any, str]] = [
    *(("id", value, "`id` must be an integer from 1 to 4294967295") for value in [*INTEGERS, 2**32]),
    *(("version", value, "`version` must be an integer from 1 to 9007199254740991") for value in [*INTEGERS, 2**53]),
    *(
        (name, value, f"`{name}` must be {size} hex digits")
        for name, size in (("account", 64), ("signature", 130), ("pk", 66))
        for value in [
            *HEX, "0" * (size - 1), "0" * (size + 1), "g" * size, "0" * (size - 2) + "0x", " " * 2 + "0" * (size - 2),
            "00 " + "0" * (size - 3), "0" * (size - 1) + "\n", "\u0660" * size, "\ud800" * size,
        ]
        if not (name == "pk" and value is None)
    ),
    *(("relays", value, "`relays` must be a list of texts") for value in [None, "a.tf", {"a.tf": 1}, [1], ["a", None]]),
    *(("pk", prefix + "00" * 32, "`pk` must be a compressed secp256k1 point") for prefix in ("00", "04", "ff")),
    ("relays", ["a b"], "is not a relay"),
    ("relays", ["a.tf", "\ud800"], "is not a relay"),
    ("relays", [f"r{n}.tf" for n in range(5)], "the number of relays should not exceed 4"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "text"), WRONG, ids=[f"{name}-{value!r:.20}" for name, value, _ in WRONG])
def test_wrong_fields(name: str, value: Any, text: str) -> None:
    """Each is refused with its name and what it must be; spaces between hex digits are no hex digits."""
    with pytest.raises(BadRequest) as caught:
        SignedTwin.from_json(JSON | {name: value})
    assert text in str(caught.value)
    assert caught.value.code == 400


@pytest.mark.parametrize("name", [name for name in JSON if name != "pk"])
def test_missing_fields(name: str) -> None:
    """A missing field is named."""
    with pytest.raises(BadRequest, match=f"`{name}`"):
        SignedTwin.from_json({key: value for key, value in JSON.items() if key != name})


@pytest.mark.parametrize("value", [None, [], "x", 5, True])
def test_no_object(value: Any) -> None:
    """Anything but an object is refused."""
    with pytest.raises(BadRequest, match="a twin record must be a JSON object"):
        SignedTwin.from_json(value)


@pytest.mark.parametrize("absent", [True, False], ids=["missing", "null"])
def test_no_public_key(absent: bool) -> None:
    """A twin without key wants plain payloads; it is part of what is signed."""
    record = sign_twin(dataclasses.replace(TWIN, public_key=None), A.signer).to_json()
    assert record["pk"] is None
    if absent:
        del record["pk"]
    SignedTwin.from_json(record).verify()


def test_largest_numbers() -> None:
    """Ids are u32; versions stay exact in every JSON reader."""
    record = sign_twin(dataclasses.replace(TWIN, id=2**32 - 1, version=VERSION_MAX), A.signer)
    assert SignedTwin.from_json(record.to_json()) == record


def test_unknown_fields_are_ignored() -> None:
    """A later version may add fields that it does not sign."""
    assert SignedTwin.from_json(JSON | {"note": "x"}) == RECORD


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.text("0aF ", max_size=140),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(json_values | st.dictionaries(st.sampled_from(list(JSON)), json_values).map(JSON.__or__))
def test_noise_never_crashes(value: Any) -> None:
    """Any JSON value is a record or BadRequest; a record's check passes or is InvalidSignature."""
    with suppress(BadRequest, InvalidSignature):
        record = SignedTwin.from_json(value)
        assert (len(record.twin.account), len(record.signature)) == (32, 65)
        record.verify()
