"""The JSON contracts: valid themselves, true for their examples, strict where a mistake would cost a message."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from rmb_peer.local.keys import LOCAL_REPLIES, LOCAL_REQUESTS, OUTBOX, SEEN_PREFIX
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.errors import BadRequest, CommandRefused, InvalidSignature
from rmb_peer.protocol.lifetime import LIFETIME_S_MAX
from rmb_peer.protocol.names import COMMAND_CHARS_MAX, RELAY_CHARS_MAX, RELAYS_MAX, check_command
from rmb_peer.protocol.twin_record import VERSION_MAX, SignedTwin
from tests.support.envelopes import U32, texts
from tests.support.records import twins
from tests.support.schemas import SCHEMAS, faults
from tests.support.vectors import identity_of

NAMES = {"local_request", "incoming_request", "outgoing_response", "incoming_response", "error", "registry_record"}


def example(name: str, **changes: Any) -> dict[str, Any]:
    return {**SCHEMAS[name]["examples"][0], **changes}


def test_all_contracts_are_here() -> None:
    """The four messages of the Redis API, their error object, and the registry's record."""
    assert set(SCHEMAS) == NAMES


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid(name: str) -> None:
    """Each file is JSON Schema 2020-12, and says so."""
    assert SCHEMAS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_written_for_people(name: str) -> None:
    """Title, purpose, a sentence for every key, and at least two examples."""
    schema = SCHEMAS[name]
    assert schema["title"]
    assert len(schema["description"]) > 50
    assert len(schema["examples"]) >= 2
    for key, part in schema["properties"].items():
        assert part["description"].rstrip().endswith("."), key


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name, schema in SCHEMAS.items() for number in range(len(schema["examples"]))],
)
def test_examples_follow_their_schema(name: str, number: int) -> None:
    """What is shown is what is meant."""
    assert faults(name, SCHEMAS[name]["examples"][number]) == []


@pytest.mark.parametrize("name", ["incoming_request", "incoming_response", "registry_record"])
def test_what_we_write_has_all_keys_in_order(name: str) -> None:
    """Objects of ours always have every key, absent values as null; the examples show the order (spec 5.1)."""
    schema = SCHEMAS[name]
    assert schema["required"] == list(schema["properties"])
    for shown in schema["examples"]:
        assert list(shown) == schema["required"]


@pytest.mark.parametrize(
    ("name", "optional"),
    [("local_request", {"ref", "tag", "shm"}), ("outgoing_response", {"ref", "shm", "err"}), ("error", set())],
)
def test_optional_keys(name: str, optional: set[str]) -> None:
    """Appendix C 13: each optional key may be missing or null; every other one must be there (spec 5.2, 5.4)."""
    schema = SCHEMAS[name]
    assert set(schema["properties"]) - set(schema["required"]) == optional
    for key in optional:
        assert faults(name, example(name, **{key: None})) == []
        assert faults(name, {k: v for k, v in example(name).items() if k != key}) == []
    for key in schema["required"]:
        assert faults(name, example(name, **{key: None})) != []
        assert faults(name, {k: v for k, v in example(name).items() if k != key}) != []


@pytest.mark.parametrize("name", SCHEMAS)
def test_unknown_keys_are_no_fault(name: str) -> None:
    """Go clients send `con`; later versions may add keys (spec 5.2)."""
    assert faults(name, example(name, con=None)) == []


INTEGER_KEYS = [
    ("local_request", "ver", 2**64 - 1), ("local_request", "exp", 2**64 - 1), ("local_request", "now", 2**64 - 1),
    ("incoming_request", "exp", 2**64 - 1), ("incoming_request", "now", 2**64 - 1),
    ("outgoing_response", "ver", 2**64 - 1), ("outgoing_response", "now", 2**64 - 1),
    ("incoming_response", "now", 2**64 - 1), ("error", "code", 2**32 - 1),
    ("registry_record", "id", 2**32 - 1), ("registry_record", "version", VERSION_MAX),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "most"), INTEGER_KEYS)
def test_integers(name: str, key: str, most: int) -> None:
    """The largest value passes; one more, negative, floats, booleans and texts do not (spec 5.2)."""
    assert faults(name, example(name, **{key: most})) == []
    for wrong in (most + 1, -1, 1.0, 1.5, True, "1", None, [1]):
        assert faults(name, example(name, **{key: wrong})) != [], wrong


@pytest.mark.parametrize("name", ["incoming_request", "incoming_response"])
@pytest.mark.parametrize("wrong", [0, 2, "1", None])
def test_version_that_we_write(name: str, wrong: Any) -> None:
    """Our own messages say 1."""
    assert faults(name, example(name, ver=wrong)) != []


STRING_KEYS = [
    (name, key)
    for name, schema in SCHEMAS.items()
    for key, part in schema["properties"].items()
    if part.get("type") in ("string", ["string", "null"])
]


@pytest.mark.parametrize(("name", "key"), STRING_KEYS)
def test_texts_are_texts(name: str, key: str) -> None:
    """Numbers, booleans, lists and objects are no texts."""
    for wrong in (5, True, ["x"], {"x": 1}):
        assert faults(name, example(name, **{key: wrong})) != [], wrong


@pytest.mark.parametrize("dst", [[42], [7, 7], [1, 2**32 - 1]], ids=repr)
def test_destinations(dst: list[int]) -> None:
    """Any twin ids, repeats included (spec 5.2)."""
    assert faults("local_request", example("local_request", dst=dst)) == []


@pytest.mark.parametrize("dst", [[], 7, "7", None, [0], [-1], [2**32], [7.0], [True], ["7"], [None], [[7]]], ids=repr)
def test_no_destinations(dst: Any) -> None:
    """Everything else is no list of twins."""
    assert faults("local_request", example("local_request", dst=dst)) != []


@pytest.mark.parametrize("name", ["local_request", "incoming_request", "outgoing_response", "incoming_response"])
def test_payload_is_base64(name: str) -> None:
    """Standard alphabet with or without padding, up to the size of a message (spec 5.2)."""
    for good in ("", "QQ", "QQ==", "+/+/", "aGVsbG8="):
        assert faults(name, example(name, dat=good)) == [], good
    for bad in ("QQ\n", "Q Q", "_-_-", "QQ===", "=QQ", "Q=Q", "\u00e9"):
        assert faults(name, example(name, dat=bad)) != [], bad
    assert SCHEMAS[name]["properties"]["dat"]["maxLength"] == -(-MESSAGE_BYTES_MAX // 3) * 4


@given(
    st.text(max_size=300)
    | st.sampled_from(["system", "backlog"]).flatmap(lambda word: st.text(".x\n", max_size=3).map(word.__add__))
)
def test_commands_are_those_of_the_core(command: str) -> None:
    """The contract allows exactly what the core allows."""
    try:
        check_command(command)
        allowed = True
    except CommandRefused:
        allowed = False
    for name in ("local_request", "incoming_request"):
        assert (faults(name, example(name, cmd=command)) == []) is allowed


@given(U32.filter(bool), st.none() | texts)
def test_sources_and_destinations_are_addresses(twin: int, session: str | None) -> None:
    """Every address fits where an address is wanted, and what fits in `src` can be echoed as `dst`."""
    text = str(Address(twin, session))
    assert faults("incoming_request", example("incoming_request", src=text)) == []
    assert faults("incoming_response", example("incoming_response", src=text)) == []
    assert faults("outgoing_response", example("outgoing_response", dst=text)) == []


def test_who_may_answer() -> None:
    """A relay is "0", the local gateway is empty, and nobody asks in their name (appendix C 18; spec 5.4)."""
    for src in ("0", ""):
        assert faults("incoming_response", example("incoming_response", src=src)) == []
        assert faults("incoming_request", example("incoming_request", src=src)) != []
    for dst in (7, "", "x", ":x", "-7", "12345678901"):
        assert faults("outgoing_response", example("outgoing_response", dst=dst)) != []


@pytest.mark.parametrize("ret", ["my-answers", "", "msgbus.mine", "msgbus.system.localhost", "rmb", "my rmb:outbox"])
def test_lists_for_answers(ret: str) -> None:
    """A client chooses any name for its list."""
    assert faults("local_request", example("local_request", ret=ret)) == []


@pytest.mark.parametrize("ret", [LOCAL_REQUESTS, LOCAL_REPLIES, OUTBOX, SEEN_PREFIX + "x", None, 5])
def test_no_lists_for_answers(ret: Any) -> None:
    """The gateway's own queues are not."""
    assert faults("local_request", example("local_request", ret=ret)) != []


def test_where_services_answer() -> None:
    """`ret` of a request is the list that the gateway reads."""
    assert SCHEMAS["incoming_request"]["properties"]["ret"]["const"] == LOCAL_REPLIES
    assert faults("incoming_request", example("incoming_request", ret="other")) != []


def test_error_objects() -> None:
    """Appendix C 14: `err` has both keys, or is null or missing."""
    for name in ("outgoing_response", "incoming_response"):
        assert faults(name, example(name, err={"code": 1, "message": ""})) == []
        for wrong in (
            {},
            {"code": 1},
            {"message": "x"},
            {"code": "1", "message": "x"},
            {"code": -1, "message": "x"},
            "x",
            5,
        ):
            assert faults(name, example(name, err=wrong)) != [], wrong


def test_exact_local_errors_follow_the_contract() -> None:
    """Appendix C 15: the object of spec 5.4 for errors of the local gateway."""
    for code, message in ((103, "unknown twin id '9'"), (500, "other: response has expired before sending!")):
        exact = {
            "ver": 1,
            "ref": None,
            "dat": "",
            "src": "",
            "shm": None,
            "now": 0,
            "err": {"code": code, "message": message},
        }
        assert faults("incoming_response", exact) == []
        assert list(exact) == SCHEMAS["incoming_response"]["required"]


def test_limits_are_those_of_the_core() -> None:
    """Numbers in the contracts are the numbers in the code."""
    assert SCHEMAS["local_request"]["properties"]["cmd"]["maxLength"] == COMMAND_CHARS_MAX
    assert str(LIFETIME_S_MAX) in SCHEMAS["local_request"]["properties"]["exp"]["description"]
    assert str(LIFETIME_S_MAX) in SCHEMAS["outgoing_response"]["description"]
    relays = SCHEMAS["registry_record"]["properties"]["relays"]
    assert (relays["maxItems"], relays["items"]["maxLength"]) == (RELAYS_MAX, RELAY_CHARS_MAX)


# --- registry records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", SCHEMAS["registry_record"]["examples"], ids=["with-key", "without-key"])
def test_record_examples_are_signed(shown: dict[str, Any]) -> None:
    """The examples are real records of keys A and C: they verify, and are what the core writes."""
    record = SignedTwin.from_json(shown)
    record.verify()
    assert record.to_json() == shown
    assert record.twin.account in (identity_of("A", "ed25519").account, identity_of("C").account)


@given(twins(), st.sampled_from((b"e", b"s")), st.binary(min_size=64, max_size=64))
def test_every_record_follows_the_contract(twin: Any, type_byte: bytes, raw: bytes) -> None:
    """Whatever a twin says, to_json writes it as the contract describes."""
    assert faults("registry_record", SignedTwin(twin, type_byte + raw).to_json()) == []


RECORD_CHANGES = {
    "id": st.integers() | st.none() | st.floats(),
    "account": st.text("0aF g", max_size=66) | st.binary(min_size=32, max_size=32).map(bytes.hex),
    "relays": st.lists(st.sampled_from(["a.tf", "B.tf", "a b", "", "[::1]:80", "a:0", "x" * 300]), max_size=6),
    "pk": st.none() | st.text("023a", min_size=64, max_size=68),
    "version": st.integers(-1, 2**54),
    "signature": st.text("0567", min_size=129, max_size=131),
}


@given(st.data(), st.sampled_from(sorted(RECORD_CHANGES)))
def test_the_core_reads_what_the_contract_allows(data: st.DataObject, key: str) -> None:
    """A document that follows the contract is read without complaint; its signature is another matter."""
    document = example("registry_record", **{key: data.draw(RECORD_CHANGES[key])})
    if faults("registry_record", document):
        return
    record = SignedTwin.from_json(document)
    if document != example("registry_record"):
        with pytest.raises(InvalidSignature):
            record.verify()


@pytest.mark.parametrize("name", ["relays", "account", "signature", "id", "version"])
def test_both_refuse_a_record_without(name: str) -> None:
    """Core and contract agree on what must be there."""
    document = {key: value for key, value in example("registry_record").items() if key != name}
    assert faults("registry_record", document) != []
    with pytest.raises(BadRequest):
        SignedTwin.from_json(document)
