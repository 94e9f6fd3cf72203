from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Ending(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAFE: _ClassVar[Ending]
    AT_PEER: _ClassVar[Ending]
    REFUSED: _ClassVar[Ending]
SAFE: Ending
AT_PEER: Ending
REFUSED: Ending

class Frame(_message.Message):
    __slots__ = ("first", "envelopes", "safe", "outcomes", "window", "part", "joined")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    SAFE_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    first: int
    envelopes: _containers.RepeatedScalarFieldContainer[bytes]
    safe: int
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    window: Window
    part: bytes
    joined: int
    def __init__(self, first: _Optional[int] = ..., envelopes: _Optional[_Iterable[bytes]] = ..., safe: _Optional[int] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., part: _Optional[bytes] = ..., joined: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("first", "more", "ending", "code", "reason", "retry_after_ms")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    first: int
    more: int
    ending: Ending
    code: int
    reason: str
    retry_after_ms: int
    def __init__(self, first: _Optional[int] = ..., more: _Optional[int] = ..., ending: _Optional[_Union[Ending, str]] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("messages", "size_bytes", "parts")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    messages: int
    size_bytes: int
    parts: bool
    def __init__(self, messages: _Optional[int] = ..., size_bytes: _Optional[int] = ..., parts: _Optional[bool] = ...) -> None: ...
