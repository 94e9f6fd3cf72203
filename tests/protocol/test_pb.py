"""The generated messages: numbers, types and presence of spec 2.1, and the backlog vector."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.pb import backlog_pb2, envelope_pb2
from rmb_peer.protocol.pb.backlog_pb2 import Backlog
from tests.support.envelopes import U32, U64, texts
from tests.support.vectors import VECTORS

# Spec 2.1: number, name, type, presence: "implicit", "explicit", "repeated", or the name of the oneof.
TABLES: dict[type[Message], str] = {
    envelope_pb2.Envelope: """
        1 uid string implicit
        2 tags string explicit
        3 timestamp uint64 implicit
        4 expiration uint64 implicit
        5 source Address explicit
        6 destination Address explicit
        7 request Request message
        8 response Response message
        9 signature bytes explicit
        10 schema string explicit
        11 federation string explicit
        12 error Error message
        13 plain bytes payload
        14 cipher bytes payload
        15 ping Ping message
        16 pong Pong message
        17 relays string repeated
        18 once bytes explicit""",  # 18 is ours
    envelope_pb2.Address: "1 twin uint32 implicit\n2 connection string explicit",
    envelope_pb2.Request: "1 command string implicit",
    envelope_pb2.Response: "",
    envelope_pb2.Error: "1 code uint32 implicit\n2 message string implicit",
    envelope_pb2.Ping: "",
    envelope_pb2.Pong: "",
    backlog_pb2.Backlog: """
        1 uid string implicit
        2 reference string explicit
        3 reply_to string implicit
        4 module string implicit
        5 ttl uint64 implicit
        6 destinations uint32 repeated
        7 checksum fixed32 implicit""",  # 6 and 7 are ours
}
TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_FIXED32: "fixed32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def row(field: FieldDescriptor) -> str:
    oneof = field.containing_oneof
    if field.is_repeated:
        presence = "repeated"
    elif oneof is not None and not oneof.name.startswith("_"):  # `_name` is how protobuf writes `optional`
        presence = oneof.name
    else:
        presence = "explicit" if field.has_presence else "implicit"
    kind = field.message_type.name if field.message_type else TYPES[field.type]
    return f"{field.number} {field.name} {kind} {presence}"


@pytest.mark.parametrize(("message", "table"), TABLES.items(), ids=[message.DESCRIPTOR.name for message in TABLES])
def test_fields(message: type[Message], table: str) -> None:
    """Numbers, names, types and presence are those of the existing network (spec 2.1)."""
    all_fields: Any = message.DESCRIPTOR.fields  # typed twice, once for each protobuf engine
    fields: list[FieldDescriptor] = sorted(all_fields, key=lambda field: field.number)
    assert [row(field) for field in fields] == [line.strip() for line in table.strip().splitlines()]


def test_every_message_has_a_table() -> None:
    """No message is generated that the tables above do not describe."""
    generated = {
        descriptor.name
        for module in (envelope_pb2, backlog_pb2)
        for descriptor in module.DESCRIPTOR.message_types_by_name.values()
    }
    assert generated == {message.DESCRIPTOR.name for message in TABLES}


def test_backlog_vector() -> None:
    """Vector A.7: what the Rust gateway stores for a waiting request, read and written."""
    wire = bytes.fromhex(VECTORS["backlog"]["wire"])
    backlog = Backlog(**VECTORS["backlog"]["fields"])
    assert backlog.SerializeToString() == wire
    assert Backlog.FromString(wire) == backlog
    assert list(Backlog.FromString(wire).destinations) == []


def test_backlog_destinations_are_skipped_by_others() -> None:
    """Our field 6 comes after everything that the Rust gateway reads, as one packed field it can skip."""
    wire = bytes.fromhex(VECTORS["backlog"]["wire"])
    backlog = Backlog(**VECTORS["backlog"]["fields"], destinations=[1, 300])
    assert backlog.SerializeToString() == wire + b"\x32\x03\x01\xac\x02"


@given(
    st.builds(
        Backlog,
        uid=texts,
        reference=st.none() | texts,
        reply_to=texts,
        module=texts,
        ttl=U64,
        destinations=st.lists(U32, max_size=5),
    )
)
def test_backlog_round_trip(backlog: Backlog) -> None:
    """An absent and an empty reference stay different (appendix C 13)."""
    again = Backlog.FromString(backlog.SerializeToString())
    assert again == backlog
    assert again.HasField("reference") == backlog.HasField("reference")
