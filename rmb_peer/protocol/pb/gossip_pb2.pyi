from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HIGH: _ClassVar[Priority]
    LOW: _ClassVar[Priority]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNSPECIFIED: _ClassVar[Reason]
    EVICTED: _ClassVar[Reason]
    FULL: _ClassVar[Reason]
    LEAVING: _ClassVar[Reason]
    NOT_NEIGHBORS: _ClassVar[Reason]
    UNREACHABLE: _ClassVar[Reason]
    NOT_SUBSCRIBED: _ClassVar[Reason]
    BUSY: _ClassVar[Reason]
HIGH: Priority
LOW: Priority
UNSPECIFIED: Reason
EVICTED: Reason
FULL: Reason
LEAVING: Reason
NOT_NEIGHBORS: Reason
UNREACHABLE: Reason
NOT_SUBSCRIBED: Reason
BUSY: Reason

class Message(_message.Message):
    __slots__ = ("topic", "join", "forward_join", "shuffle", "shuffle_reply", "neighbor", "disconnect", "payload", "prune", "graft", "i_have", "ping", "pong", "not_held", "digest", "fetch", "history_request", "summary")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    FORWARD_JOIN_FIELD_NUMBER: _ClassVar[int]
    SHUFFLE_FIELD_NUMBER: _ClassVar[int]
    SHUFFLE_REPLY_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOR_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    GRAFT_FIELD_NUMBER: _ClassVar[int]
    I_HAVE_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    NOT_HELD_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FETCH_FIELD_NUMBER: _ClassVar[int]
    HISTORY_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    topic: bytes
    join: Join
    forward_join: ForwardJoin
    shuffle: Shuffle
    shuffle_reply: ShuffleReply
    neighbor: Neighbor
    disconnect: Disconnect
    payload: Payload
    prune: Prune
    graft: Graft
    i_have: IHave
    ping: Ping
    pong: Pong
    not_held: NotHeld
    digest: Digest
    fetch: Fetch
    history_request: HistoryRequest
    summary: Summary
    def __init__(self, topic: _Optional[bytes] = ..., join: _Optional[_Union[Join, _Mapping]] = ..., forward_join: _Optional[_Union[ForwardJoin, _Mapping]] = ..., shuffle: _Optional[_Union[Shuffle, _Mapping]] = ..., shuffle_reply: _Optional[_Union[ShuffleReply, _Mapping]] = ..., neighbor: _Optional[_Union[Neighbor, _Mapping]] = ..., disconnect: _Optional[_Union[Disconnect, _Mapping]] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ..., prune: _Optional[_Union[Prune, _Mapping]] = ..., graft: _Optional[_Union[Graft, _Mapping]] = ..., i_have: _Optional[_Union[IHave, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., not_held: _Optional[_Union[NotHeld, _Mapping]] = ..., digest: _Optional[_Union[Digest, _Mapping]] = ..., fetch: _Optional[_Union[Fetch, _Mapping]] = ..., history_request: _Optional[_Union[HistoryRequest, _Mapping]] = ..., summary: _Optional[_Union[Summary, _Mapping]] = ...) -> None: ...

class PeerInfo(_message.Message):
    __slots__ = ("twin", "data")
    TWIN_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    twin: int
    data: bytes
    def __init__(self, twin: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Join(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ForwardJoin(_message.Message):
    __slots__ = ("newcomer", "ttl")
    NEWCOMER_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    newcomer: PeerInfo
    ttl: int
    def __init__(self, newcomer: _Optional[_Union[PeerInfo, _Mapping]] = ..., ttl: _Optional[int] = ...) -> None: ...

class Shuffle(_message.Message):
    __slots__ = ("origin", "nodes", "ttl")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    origin: int
    nodes: _containers.RepeatedCompositeFieldContainer[PeerInfo]
    ttl: int
    def __init__(self, origin: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[PeerInfo, _Mapping]]] = ..., ttl: _Optional[int] = ...) -> None: ...

class ShuffleReply(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[PeerInfo]
    def __init__(self, nodes: _Optional[_Iterable[_Union[PeerInfo, _Mapping]]] = ...) -> None: ...

class Neighbor(_message.Message):
    __slots__ = ("priority", "data", "answer")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    priority: Priority
    data: bytes
    answer: bool
    def __init__(self, priority: _Optional[_Union[Priority, str]] = ..., data: _Optional[bytes] = ..., answer: _Optional[bool] = ...) -> None: ...

class Disconnect(_message.Message):
    __slots__ = ("alive", "reason")
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    alive: bool
    reason: Reason
    def __init__(self, alive: _Optional[bool] = ..., reason: _Optional[_Union[Reason, str]] = ...) -> None: ...

class Stamp(_message.Message):
    __slots__ = ("author", "incarnation", "number")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    author: int
    incarnation: int
    number: int
    def __init__(self, author: _Optional[int] = ..., incarnation: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class Id(_message.Message):
    __slots__ = ("stamp", "content_hash")
    STAMP_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    stamp: Stamp
    content_hash: bytes
    def __init__(self, stamp: _Optional[_Union[Stamp, _Mapping]] = ..., content_hash: _Optional[bytes] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("id", "content", "round", "signature", "repair")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    id: Id
    content: bytes
    round: int
    signature: bytes
    repair: bool
    def __init__(self, id: _Optional[_Union[Id, _Mapping]] = ..., content: _Optional[bytes] = ..., round: _Optional[int] = ..., signature: _Optional[bytes] = ..., repair: _Optional[bool] = ...) -> None: ...

class Prune(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Graft(_message.Message):
    __slots__ = ("id", "round")
    ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    id: Id
    round: int
    def __init__(self, id: _Optional[_Union[Id, _Mapping]] = ..., round: _Optional[int] = ...) -> None: ...

class Announcement(_message.Message):
    __slots__ = ("id", "round")
    ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    id: Id
    round: int
    def __init__(self, id: _Optional[_Union[Id, _Mapping]] = ..., round: _Optional[int] = ...) -> None: ...

class IHave(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Announcement]
    def __init__(self, entries: _Optional[_Iterable[_Union[Announcement, _Mapping]]] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    def __init__(self, nonce: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    def __init__(self, nonce: _Optional[int] = ...) -> None: ...

class NotHeld(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: Id
    def __init__(self, id: _Optional[_Union[Id, _Mapping]] = ...) -> None: ...

class Held(_message.Message):
    __slots__ = ("author", "incarnation", "first", "upto")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    author: int
    incarnation: int
    first: int
    upto: int
    def __init__(self, author: _Optional[int] = ..., incarnation: _Optional[int] = ..., first: _Optional[int] = ..., upto: _Optional[int] = ...) -> None: ...

class Digest(_message.Message):
    __slots__ = ("entries", "answer")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Held]
    answer: bool
    def __init__(self, entries: _Optional[_Iterable[_Union[Held, _Mapping]]] = ..., answer: _Optional[bool] = ...) -> None: ...

class Wanted(_message.Message):
    __slots__ = ("author", "incarnation", "first", "last")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    author: int
    incarnation: int
    first: int
    last: int
    def __init__(self, author: _Optional[int] = ..., incarnation: _Optional[int] = ..., first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Fetch(_message.Message):
    __slots__ = ("ranges",)
    RANGES_FIELD_NUMBER: _ClassVar[int]
    ranges: _containers.RepeatedCompositeFieldContainer[Wanted]
    def __init__(self, ranges: _Optional[_Iterable[_Union[Wanted, _Mapping]]] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("latest",)
    LATEST_FIELD_NUMBER: _ClassVar[int]
    latest: int
    def __init__(self, latest: _Optional[int] = ...) -> None: ...

class Summary(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Held]
    def __init__(self, entries: _Optional[_Iterable[_Union[Held, _Mapping]]] = ...) -> None: ...
