"""Envelopes for property tests: any mixture of fields, changed bytes, and a slow twin of the challenge."""

from typing import Any

from hypothesis import strategies as st

from rmb_peer.protocol.envelope import Envelope

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)

# No surrogates: protobuf strings are UTF-8, which has none (spec rmb 2.2).
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    """Any envelope: each field of spec rmb 2.1 absent, present with its default, or filled."""
    envelope = Envelope(
        uid=draw(texts), timestamp=draw(U64), expiration=draw(U64), relays=draw(st.lists(texts, max_size=3))
    )
    for name in ("tags", "schema", "federation"):
        if draw(st.booleans()):
            setattr(envelope, name, draw(texts))
    for name in ("signature", "once"):
        if draw(st.booleans()):
            setattr(envelope, name, draw(st.binary(max_size=70)))
    for address in (envelope.source, envelope.destination):
        if draw(st.booleans()):
            address.SetInParent()
            address.twin = draw(U32)
            if draw(st.booleans()):
                address.connection = draw(texts)
    _draw_kind(draw, envelope)
    payload = draw(st.sampled_from((None, "plain", "cipher")))
    if payload:
        setattr(envelope, payload, draw(st.binary(max_size=40)))
    return envelope


def _draw_kind(draw: Any, envelope: Envelope) -> None:
    kind = draw(st.sampled_from((None, "request", "response", "error", "ping", "pong")))
    if kind is None:
        return
    getattr(envelope, kind).SetInParent()
    if kind == "request":
        envelope.request.command = draw(texts)
    elif kind == "error":
        envelope.error.code = draw(U32)
        envelope.error.message = draw(texts)


@st.composite
def changed(draw: st.DrawFn, original: bytes) -> bytes:
    """`original` with one byte replaced, removed, inserted or doubled, or with one bit turned."""
    at = draw(st.integers(0, len(original) - 1))
    byte = bytes([draw(st.integers(0, 255))])
    match draw(st.sampled_from(("replace", "remove", "insert", "bit", "double"))):
        case "replace":
            return original[:at] + byte + original[at + 1 :]
        case "remove":
            return original[:at] + original[at + 1 :]
        case "insert":
            return original[:at] + byte + original[at:]
        case "bit":
            return original[:at] + bytes([original[at] ^ (1 << draw(st.integers(0, 7)))]) + original[at + 1 :]
        case _:
            return original[: at + 1] + original[at:]


def slow_challenge_text(envelope: Envelope) -> bytes:
    """Spec 2.6 once more, row by row from the fields that are present, as different as possible from the real one."""
    present = {field.name: value for field, value in envelope.ListFields()}
    text = envelope.uid + present.get("tags", "")
    text += str(present.get("timestamp", 0)) + str(present.get("expiration", 0))
    for end in ("source", "destination"):
        parts = {field.name: value for field, value in present[end].ListFields()} if end in present else {}
        text += str(parts.get("twin", 0)) + parts.get("connection", "")
    if "request" in present:
        text += present["request"].command
    if "error" in present:
        text += f"{present['error'].code}{present['error'].message}"
    text += present.get("schema", "") + present.get("federation", "")
    payload: bytes = present.get("plain", b"") + present.get("cipher", b"")  # a oneof: at most one is present
    whole: bytes = text.encode() + payload + "".join(present.get("relays", ())).encode()
    return whole
