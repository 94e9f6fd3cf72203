"""Every vector that needs no process and no network (spec remaphore 23); `exec`, `filters`, `cli` also run for real."""

import re
from typing import Any

import pytest

from rmb_peer.remaphore.core import (
    base58,
    clock,
    command_line,
    configuration,
    durations,
    envelopes,
    replies,
    subjects,
    text,
    wire,
)
from rmb_peer.remaphore.core.configuration import BadConfig
from rmb_peer.remaphore.core.envelopes import CannotSign, Draft, Refused
from rmb_peer.remaphore.core.filters import Filter
from rmb_peer.remaphore.core.rendezvous import from_name
from rmb_peer.remaphore.core.settings import Settings, allows
from rmb_peer.remaphore.core.wildcards import matches
from rmb_peer.remaphore.core.wire import Message
from rmb_peer.remaphore.options import MAIN, main_options, verb_list
from tests.support.remaphore_vectors import VECTORS, identity, ids, public, settings


@pytest.mark.parametrize("case", [c for c in VECTORS["messages"] if not c["altered_after_signing"]], ids=ids)
def test_messages_are_encoded_byte_for_byte(case: dict[str, Any]) -> None:
    """Given time and uuid, our encoder makes Go's bytes, signature, hash and reply subject included."""
    fields = case["encode"]
    draft = Draft(
        destination=bytes.fromhex(fields["destination_hex"]),
        verb=bytes.fromhex(fields["verb_hex"]),
        payload=bytes.fromhex(fields["payload_hex"]),
        wants_reply=fields["request_reply"],
        uuid=bytes.fromhex(fields["uuid_hex"]),
    )
    encoded = envelopes.sign(identity(case["sender"]), draft, int(fields["send_time_nano"]))
    assert encoded.hex() == case["encoded_hex"]
    assert wire.parse(encoded).signed_bytes().hex() == case["signed_hex"]
    assert wire.message_hash(encoded) == case["hash_hex"]
    assert subjects.reply_subject("remaphore", encoded) == case["reply_subject"]
    if fields.get("uuid_input_hex"):
        assert from_name(bytes.fromhex(fields["uuid_input_hex"])) == draft.uuid


@pytest.mark.parametrize("case", VECTORS["messages"], ids=ids)
def test_messages_are_judged_as_recommended(case: dict[str, Any]) -> None:
    """Each message is accepted with its fields, or refused with the text of section 4."""
    how, wanted = case["decode"], case.get("recommended", case["expected"])
    judge = envelopes.open_reply if how["as"] == "reply" else envelopes.open_message
    encoded = bytes.fromhex(case["encoded_hex"])
    try:
        message = judge(settings(how["config"]), encoded, int(how["now_nano"]))
    except Refused as error:
        assert not wanted["ok"]
        assert str(error) == wanted["error"]
        return
    assert wanted["ok"]
    assert fields_of(message, encoded) == {name: wanted[name] for name in fields_of(message, encoded)}


def fields_of(message: Message, encoded: bytes) -> dict[str, Any]:
    return {
        "sender": base58.encode(message.sender),
        "signature_hex": message.signature.hex(),
        "destination_hex": message.destination.hex(),
        "send_time_nano": str(message.time_ns),
        "uuid_hex": message.uuid.hex(),
        "verb_hex": message.verb.hex(),
        "request_reply": message.wants_reply,
        "payload_hex": message.payload.hex(),
        "hash_hex": wire.message_hash(encoded),
    }


@pytest.mark.parametrize("case", VECTORS["encode_by_go"]["cases"], ids=ids)
def test_what_go_encoded_is_encoded_alike(case: dict[str, Any]) -> None:
    """Go's own messages come out of our encoder; what it refuses we refuse with its words."""
    inputs, ours = case["inputs"], settings(case["config"])
    fields = case.get("fields", {})
    name = bytes.fromhex(inputs["uuid_input_hex"])
    draft = Draft(
        destination=inputs["destination"].encode(),
        verb=inputs["verb"].encode(),
        payload=bytes.fromhex(inputs["payload_hex"]),
        wants_reply=inputs["request_reply"],
        uuid=from_name(name) if name else bytes.fromhex(fields.get("uuid_hex", "00")),
        signer=base58.decode(inputs["sender"].encode(), 44) or None,
    )
    if "error" in case:
        with pytest.raises(CannotSign) as refused:
            envelopes.check_draft(ours, draft)
        assert str(refused.value).split("\n")[0] == case["error"]
        return
    time_ns = int(fields["send_time_nano"])
    if inputs["is_reply"]:
        encoded = envelopes.sign_reply(ours, draft.payload, draft.uuid, time_ns)
    else:
        encoded = envelopes.sign(envelopes.check_draft(ours, draft), draft, time_ns)
    assert encoded.hex() == case["encoded_hex"]
    assert subjects.reply_subject("remaphore", encoded) == case["reply_subject"]


@pytest.mark.parametrize("case", VECTORS["wildcards"]["cases"], ids=lambda c: f"{c['pattern']}-{c['destination']}")
def test_wildcards(case: dict[str, Any]) -> None:
    """Patterns match as in Go; where Go crashes the answer is no."""
    assert matches(case["pattern"].encode(), case["destination"].encode()) is case["match"]


@pytest.mark.parametrize("case", VECTORS["clock"], ids=ids)
def test_clock(case: dict[str, Any]) -> None:
    """The window is exact at both ends and cannot overflow."""
    accepted = clock.within(int(case["now_nano"]), int(case["send_time_nano"]), int(case["allow_skew_ns"]))
    assert accepted is case.get("recommended_accepts", case["go_accepts"])


@pytest.mark.parametrize("case", VECTORS["uuid"]["cases"], ids=ids)
def test_uuid(case: dict[str, Any]) -> None:
    """Names become rendezvous values as in Go, and a second application changes nothing."""
    value = from_name(bytes.fromhex(case["input_hex"]))
    assert value.hex() == case["uuid_hex"]
    assert from_name(value) == value


@pytest.mark.parametrize("case", VECTORS["base58"]["encode"], ids=ids)
def test_base58_encode(case: dict[str, Any]) -> None:
    """Bytes become text, leading zeros included."""
    assert base58.encode(bytes.fromhex(case["bytes_hex"])) == case["text"]


@pytest.mark.parametrize("case", VECTORS["base58"]["decode"], ids=ids)
def test_base58_decode(case: dict[str, Any]) -> None:
    """Text becomes bytes; a bad character anywhere gives the empty value."""
    assert base58.decode(case["text"].encode(), 88).hex() == case["bytes_hex"]


@pytest.mark.parametrize("case", VECTORS["durations"]["cases"], ids=ids)
def test_durations(case: dict[str, Any]) -> None:
    """Go's grammar, its errors, its print form; `-t` has its own text."""
    if "error" not in case:
        assert durations.parse(case["text"]) == int(case["ns"])
        assert durations.show(int(case["ns"])) == case["printed"]
        return
    with pytest.raises(durations.BadDuration) as error:
        durations.parse(case["text"])
    assert str(error.value) == case["error"]
    with pytest.raises(command_line.Usage) as usage:
        command_line.parse(MAIN, ["-t", case["text"]])
    assert str(usage.value) == f"invalid value {text.quote(case['text'])} for flag -t: parse error"


@pytest.mark.parametrize("case", VECTORS["subjects"]["cases"])
def test_subjects(case: dict[str, Any]) -> None:
    """Root and `-S` make the subject."""
    assert subjects.subject(case["root"], case["suffix"]) == case["subject"]


@pytest.mark.parametrize("case", VECTORS["verb_flag"]["cases"], ids=ids)
def test_verb_flag(case: dict[str, Any]) -> None:
    """`-v` is a list whose case is kept."""
    assert verb_list(case["text"]) == tuple(verb.encode() for verb in case["verbs"])


@pytest.mark.parametrize("case", VECTORS["whitespace"]["trim"], ids=lambda c: c["bytes_hex"] or "empty")
def test_whitespace(case: dict[str, Any]) -> None:
    """Exactly the white space of section 19 is trimmed."""
    assert text.trim_bytes(bytes.fromhex(case["bytes_hex"])).hex() == case["trimmed_hex"]


def test_exactly_these_code_points_are_white_space() -> None:
    """The list of the vectors, and nothing else in all of Unicode."""
    wanted = set(VECTORS["whitespace"]["codepoints"])
    assert {point for point in range(0x110000) if not text.trim(chr(point))} == wanted


@pytest.mark.parametrize("case", VECTORS["permissions"]["cases"])
def test_permissions(case: dict[str, Any]) -> None:
    """A verb is allowed by name or by a lone `*`."""
    assert allows([verb.encode() for verb in case["verbs"]], case["verb"].encode()) is case["allowed"]


@pytest.mark.parametrize("case", VECTORS["expected_responders"]["cases"])
def test_expected_responders(case: dict[str, Any]) -> None:
    """A request waits for every matching entry, whatever its verbs, in file order."""
    expected = settings(case["config"]).expected(case["pattern"].encode())
    assert [peer.destination.decode() for peer in expected] == case["destinations"]


@pytest.mark.parametrize("case", VECTORS["config_parse"], ids=ids)
def test_config_parse(case: dict[str, Any]) -> None:
    """Files are read as in Go, with the recommendations; what is printed is read back alike."""
    raw, go, advice = case["config"].encode(), case["go"], case.get("recommended", "")
    wants_error = "error" in advice.split(" ")[0] if advice else "error" in go
    if wants_error:
        with pytest.raises(BadConfig) as error:
            configuration.parse(raw)
        no_key_material(str(error.value), case["config"])
        if not advice:
            assert str(error.value) == go["error"]
        elif advice.startswith("error: "):
            assert str(error.value) == advice.removeprefix("error: ")
        return
    ours, warnings = configuration.parse(raw)
    if "error" not in go:
        assert as_in_go(ours) == {name: go[name] for name in as_in_go(ours)}
        assert configuration.show(ours) == go["printed"]
    if "warning" in advice:
        assert warnings
    no_key_material(" ".join(warnings) + repr(ours), case["config"])
    assert configuration.parse(configuration.show(ours).encode())[0] == ours


def as_in_go(ours: Settings) -> dict[str, Any]:
    return {
        "servers": list(ours.servers),
        "credentials": ours.credentials,
        "subject": ours.subject,
        "default_identity": base58.encode(ours.default_identity),
        "destination": ours.destination.decode(),
        "allow_skew_ns": str(ours.allow_skew_ns),
        "identities": [
            {
                "public": base58.encode(entry.public),
                "private": base58.encode(entry.private),
                "verbs": [verb.decode() for verb in entry.verbs],
            }
            for entry in ours.identities
        ],
        "peers": [
            {
                "destination": peer.destination.decode(),
                "public": base58.encode(peer.public),
                "verbs": [verb.decode() for verb in peer.verbs],
            }
            for peer in ours.peers
        ],
    }


def no_key_material(said: str, config: str) -> None:
    for word in re.findall(r"[1-9A-Za-z]{60,}", config):
        assert word[:20] not in said
        assert word[-20:] not in said


@pytest.mark.parametrize("case", VECTORS["outputs"]["cases"], ids=lambda c: c["payload_hex"] or "empty")
def test_outputs(case: dict[str, Any]) -> None:
    """An answer is printed as in Go, with three columns always."""
    printed = replies.printed(b"com.example.us.bravo", bytes.fromhex(case["payload_hex"]), "SEP", terminal=False)
    wanted = case.get("recommended_stdout")
    assert printed == (wanted.encode() if wanted else bytes.fromhex(case["stdout_hex"]))


@pytest.mark.parametrize("case", VECTORS["filters"]["cases"], ids=ids)
def test_filters(case: dict[str, Any]) -> None:
    """A message passes the filters of these flags, or does not."""
    ours = settings("bravo")
    options = main_options(command_line.parse(MAIN, case["flags"]))
    passing: Filter = options.filter(ours)
    draft = Draft(
        case["destination"].encode(), case["verb"].encode(), b"", False, from_name(case["uuid_input"].encode())
    )
    encoded = envelopes.sign(identity(case["sender"]), draft, 5)
    same_subject = not options.flags.text("S")
    handled = same_subject and ours.peer(public(case["sender"])) is not None
    handled = handled and passing.passes(envelopes.open_message(ours, encoded, 5))
    assert handled is case.get("recommended_handled", case["handled"])
