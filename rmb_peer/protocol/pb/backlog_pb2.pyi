from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Backlog(_message.Message):
    __slots__ = ("uid", "reference", "reply_to", "module", "ttl", "destinations", "checksum")
    UID_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    uid: str
    reference: str
    reply_to: str
    module: str
    ttl: int
    destinations: _containers.RepeatedScalarFieldContainer[int]
    checksum: int
    def __init__(self, uid: _Optional[str] = ..., reference: _Optional[str] = ..., reply_to: _Optional[str] = ..., module: _Optional[str] = ..., ttl: _Optional[int] = ..., destinations: _Optional[_Iterable[int]] = ..., checksum: _Optional[int] = ...) -> None: ...
