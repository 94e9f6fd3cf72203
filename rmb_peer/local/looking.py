"""What commands for people read from a gateway's store, and the few things they change there: dead letters.

Reading changes nothing and needs no gateway to run. Everything read is treated as if it might be damaged.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import orjson
from redis import Redis
from redis.exceptions import ResponseError

from rmb_peer.local import backlog, json_fields, keys
from rmb_peer.local.journal_chunks import Event, unpack
from rmb_peer.local.queues import Waiting
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.uids import request_uid

PAGE = 500
"""Stream entries read at a time."""

STALE_TIMES = 3
"""A status is stale after this many of its own intervals. A guess."""

_RETRY = """
local rows = redis.call("XRANGE", KEYS[1], ARGV[1], ARGV[1])
if #rows == 0 then return 0 end
if redis.call("LLEN", KEYS[2]) >= tonumber(ARGV[3]) then return 2 end
redis.call("LPUSH", KEYS[2], ARGV[2])
redis.call("XDEL", KEYS[1], ARGV[1])
return 1
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        id: of the stream entry.
        at_s: Unix seconds.
        kind, reason, raw, uid, list_name: see `queues.DeadLetter`.
    """

    id: str
    at_s: float
    kind: str
    reason: str
    raw: bytes
    uid: str
    list_name: str

    @property
    def goes_back_to(self) -> str | None:
        """The list into which a retry puts it; `None` where only its sender could send it again."""
        return {"request": keys.LOCAL_REQUESTS, "response": keys.LOCAL_REPLIES}.get(
            self.kind if not self.list_name else "", self.list_name or None
        )

    @property
    def reference(self) -> str | None:
        """The `ref` inside, where there is one."""
        try:
            return json_fields.optional_text(json_fields.object_of(self.raw), "ref")
        except BadRequest:
            return None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """What was taken and has not safely left."""

    id: str
    at_s: float
    kind: str
    uid: str
    reference: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits for answers: who waits, when silence becomes an error, who is silent."""

    waiting: Waiting | None
    deadline_s: float | None
    silent: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """A request in the hands of a worker (`leases`)."""

    command: str
    worker: str
    alive: bool
    since_s: float | None


@dataclass(frozen=True, slots=True)
class Queue:
    """One list or stream.

    Attributes:
        name: of the key.
        what: "service", "answers", "outbox" and so on.
        entries: how many wait.
        oldest_s: age of the oldest, where it can be told.
    """

    name: str
    what: str
    entries: int
    oldest_s: float | None = None


class Store:
    """Reads a gateway's store."""

    def __init__(self, redis: Redis) -> None:
        """Use a client without response decoding."""
        self._redis: Any = redis

    def now_s(self) -> float:
        """The store's clock."""
        seconds, micros = self._redis.time()
        return float(seconds) + float(micros) / 1e6

    # --- journal ------------------------------------------------------------------------------------------------------

    def journal(self) -> Iterator[Event]:
        """Every event that is kept, the newest first; damaged chunks are passed over."""
        for _, fields in self._newest_first(keys.JOURNAL):
            yield from reversed(unpack(fields.get(b"c", b"")) or ())

    def uids_of(self, name: str) -> list[str]:
        """Uids that this uid, or client's reference, stands for; the newest first."""
        found: dict[str, None] = {}
        for event in self.journal():
            if event.uid and (event.uid == name or event.fields.get("ref") == name):
                found[event.uid] = None
        for entry in self.outbox():
            if name in (entry.uid, entry.reference):
                found[entry.uid] = None
        for letter in self.letters():
            if letter.uid and name in (letter.uid, letter.reference):
                found[letter.uid] = None
        if not found:
            found.update(dict.fromkeys(self._pending_uids(name)))
        return list(found)

    def _pending_uids(self, name: str) -> list[str]:
        if self.pending(name).waiting is not None:
            return [name]
        found = []
        for uid, _ in self._redis.zscan_iter(keys.DEADLINES, count=PAGE):
            waiting = self.pending(uid.decode("latin-1")).waiting
            if waiting is not None and waiting.reference == name:
                found.append(waiting.uid)
        return found

    def events_of(self, uid: str) -> list[Event]:
        """What the journal holds about a message, oldest first; what was written twice is shown once."""
        events: list[Event] = []
        for event in self.journal():
            if event.uid == uid and event not in events:
                events.append(event)
        events.reverse()  # those of one millisecond as they were noted
        return sorted(events, key=lambda event: event.at_ms)

    # --- durable state ------------------------------------------------------------------------------------------------

    def outbox(self) -> Iterator[OutboxEntry]:
        """What was taken and has not safely left, oldest first."""
        key = cast(bytes, self._redis.get(keys.UID_KEY) or b"")
        for entry, fields in self._oldest_first(keys.OUTBOX):
            kind, raw = next(iter(fields.items()), (b"", b""))
            if kind in (b"Q", b"R"):  # the item has a key of its own
                kind, raw = kind.lower(), self._large_item(entry)
            try:
                reference = json_fields.optional_text(json_fields.object_of(raw), "ref")
            except BadRequest:
                reference = None
            uid = request_uid(key, entry) if kind == b"q" else reference or ""
            name = {b"q": "request", b"r": "response"}.get(kind, "damaged")
            yield OutboxEntry(entry, _at_s(entry), name, uid, reference, len(raw))

    def _large_item(self, entry: str) -> bytes:
        try:
            return cast(bytes, self._redis.lindex(keys.OUTBOX_LARGE_PREFIX + entry, 0) or b"")
        except ResponseError:  # something else has the name
            return b""

    def pending(self, uid: str) -> Pending:
        """Who waits for answers to a request."""
        record, deadline, asked = (
            self._redis.pipeline(transaction=False)
            .get(keys.BACKLOG_PREFIX + uid)
            .zscore(keys.DEADLINES, uid)
            .hkeys(keys.OPEN_PREFIX + uid)
            .execute()
        )
        waiting = backlog.decode(record) if record else None
        silent: tuple[int, ...] = ()
        if deadline is not None and waiting is not None:
            silent = waiting.destinations
            if len(silent) > 1:
                silent = tuple(sorted(int(twin) for twin in asked if twin.isdigit()))
        return Pending(waiting, deadline, silent)

    def holds(self, uid: str) -> list[Hold]:
        """Which workers have a request in hand at the moment."""
        return [hold for hold, entry in self._leased() if _object(entry).get("ref") == uid]

    def _leased(self) -> Iterator[tuple[Hold, bytes]]:
        now_s = self.now_s()
        for key in self._redis.sscan_iter(keys.LEASES, count=PAGE):
            name = key.decode(errors="backslashreplace")
            worker, _, command = (*name.removeprefix(keys.LEASE_PREFIX).split(":", 2), "", "")[:3]
            try:
                entry = self._redis.lindex(key, 0)
            except ResponseError:  # something else has the name
                continue
            if entry is not None:
                alive = bool(self._redis.exists(keys.ALIVE_PREFIX + worker))
                yield Hold(command, worker, alive, _asked_s_ago(entry, now_s)), entry

    # --- dead letters -------------------------------------------------------------------------------------------------

    def letters(self) -> Iterator[Letter]:
        """All dead letters, oldest first."""
        for entry, fields in self._oldest_first(keys.DEAD):
            yield _letter(entry, fields)

    def letter(self, entry: str) -> Letter | None:
        """One dead letter."""
        try:
            rows = self._redis.xrange(keys.DEAD, entry, entry)
        except ResponseError:  # no stream id
            return None
        return _letter(entry, rows[0][1]) if rows else None

    def retry(self, letter: Letter) -> str | None:
        """Put a letter back into its list, and drop it here, at one instant.

        Returns:
            why not, or `None` when it was done.
        """
        target = letter.goes_back_to
        if target is None:
            return "what came from another gateway can only be sent again by its sender"
        try:
            done = self._redis.eval(_RETRY, 2, keys.DEAD, target, letter.id, letter.raw, keys.LIST_ENTRIES_MAX)
        except ResponseError as error:
            return f"the list {target!r} does not take it: {error}"
        return {1: None, 2: f"the list {target!r} is full"}.get(done, "it is no longer there")

    def purge(self, letters: list[Letter]) -> int:
        """Drop dead letters; how many were there."""
        pages = [letters[start : start + PAGE] for start in range(0, len(letters), PAGE)]
        return sum(self._redis.xdel(keys.DEAD, *(letter.id for letter in page)) for page in pages)

    # --- queues and status --------------------------------------------------------------------------------------------

    def queues(self) -> list[Queue]:
        """Every list that a gateway or its programs use, and the gateway's own streams."""
        now_s = self.now_s()
        found = [self._stream(keys.OUTBOX, "outbox", now_s), self._stream(keys.DEAD, "dead letters", now_s)]
        found.append(Queue(keys.DEADLINES, "requests waiting for answers", self._sorted(keys.DEADLINES)))
        inputs = {keys.LOCAL_REQUESTS: "requests to take", keys.LOCAL_REPLIES: "service answers to take"}
        for name, what in inputs.items():
            found.append(Queue(name, what, self._length(name)))
        for name, what in ((keys.TAKING_REQUESTS, inputs[keys.LOCAL_REQUESTS]), (keys.TAKING_REPLIES, "being taken")):
            if self._length(name):
                found.append(Queue(name, what, self._length(name)))
        leased: dict[str, list[float]] = {}
        for hold, _ in self._leased():
            leased.setdefault(hold.command, []).append(hold.since_s or 0.0)
        for command, ages in sorted(leased.items()):
            found.append(Queue(keys.command_list(command), "in service, leased", len(ages), max(ages) or None))
        if later := self._sorted(keys.LATER):
            found.append(Queue(keys.LATER, "unfinished work that waits for its next try", later))
        lists = []
        for key in self._redis.scan_iter(count=PAGE, _type="list"):
            name = key.decode(errors="backslashreplace")
            if name in inputs or name.startswith(keys.OWN_PREFIX):
                continue
            what = "service" if name.startswith(keys.COMMAND_PREFIX) else "answers"
            oldest = self._redis.lindex(key, -1) if what == "service" else None
            lists.append(Queue(name, what, self._redis.llen(key), _asked_s_ago(oldest, now_s)))
        return found + sorted(lists, key=lambda queue: (queue.what != "service", queue.name))

    def status(self) -> dict[str, Any]:
        """Who the gateway is, what it said last, whether that is fresh, and how the store is."""
        now_s = self.now_s()
        identity = {
            name.decode(errors="replace"): value.decode(errors="replace")
            for name, value in self._redis.hgetall(keys.STATUS).items()
        }
        live = _object(self._redis.get(keys.STATUS_LIVE))
        connected = self._gateway_connected()
        age_s = now_s - float(live["at_s"]) if isinstance(live.get("at_s"), int | float) else None
        fresh = age_s is not None and age_s < STALE_TIMES * float(live.get("every_s") or 5)
        running = (fresh if connected is None else connected) and live.get("state") != "stopped"
        return {
            "running": running,
            "stale": not fresh,
            "seen_s_ago": None if age_s is None else round(max(age_s, 0.0), 1),
            "identity": identity,
            "live": live,
            "store_problem": self._store_problem(),
            "depths": {queue.name: queue.entries for queue in self._own_depths(now_s)},
            "oldest_s": {queue.name: queue.oldest_s for queue in self._own_depths(now_s) if queue.oldest_s},
        }

    def _own_depths(self, now_s: float) -> list[Queue]:
        return [
            self._stream(keys.OUTBOX, "outbox", now_s),
            self._stream(keys.DEAD, "dead letters", now_s),
            Queue(keys.DEADLINES, "waiting", self._sorted(keys.DEADLINES)),
            Queue(keys.LOCAL_REQUESTS, "requests", self._length(keys.LOCAL_REQUESTS)),
            Queue(keys.LOCAL_REPLIES, "answers", self._length(keys.LOCAL_REPLIES)),
        ]

    def _gateway_connected(self) -> bool | None:
        try:
            clients = self._redis.client_list()
        except ResponseError:
            return None  # not permitted
        own_db = str(self._redis.connection_pool.connection_kwargs.get("db") or 0)
        return any(
            client.get("name", "").startswith(keys.GATEWAY_CLIENT_PREFIX) and client.get("db") == own_db
            for client in clients
        )

    def _store_problem(self) -> str | None:
        """Why the store refuses writes, or may lose entries, in words for its operator."""
        try:
            self._redis.setrange(keys.PROBE, 0, "")
        except ResponseError as error:
            return f"refuses writes: {error}"
        try:
            info = self._redis.info("memory")
        except ResponseError:
            return None
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            return f"may throw away messages when memory is full: maxmemory-policy is {policy}, set it to noeviction"
        return None

    def _length(self, name: str) -> int:
        try:
            return int(self._redis.llen(name))
        except ResponseError:
            return 0  # something else has the name; the gateway says so in its log

    def _sorted(self, name: str) -> int:
        try:
            return int(self._redis.zcard(name))
        except ResponseError:
            return 0

    def _stream(self, name: str, what: str, now_s: float) -> Queue:
        first = self._redis.xrange(name, count=1)
        oldest_s = max(0.0, round(now_s - _at_s(first[0][0].decode()), 1)) if first else None
        return Queue(name, what, self._redis.xlen(name), oldest_s)

    def _oldest_first(self, name: str) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        after = "-"
        while rows := self._redis.xrange(name, after, "+", count=PAGE):
            for entry, fields in rows:
                yield entry.decode(), fields
            after = "(" + rows[-1][0].decode()

    def _newest_first(self, name: str) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        before = "+"
        while rows := self._redis.xrevrange(name, before, "-", count=PAGE):
            for entry, fields in rows:
                yield entry.decode(), fields
            before = "(" + rows[-1][0].decode()


def _letter(entry: str, fields: dict[bytes, bytes]) -> Letter:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="backslashreplace")

    raw, kind, uid = fields.get(b"raw", b""), text(b"kind"), text(b"uid")
    letter = Letter(entry, _at_s(entry), kind, text(b"reason"), raw, uid, text(b"list"))
    return replace(letter, uid=letter.reference or "") if kind == "unfinished" and not uid else letter


def _at_s(entry: str) -> float:
    return int(entry.split("-")[0]) / 1000


def _asked_s_ago(entry: bytes | None, now_s: float) -> float | None:
    """The age of a request by its own clock."""
    began_s = _object(entry).get("now")
    return round(max(0.0, now_s - began_s), 1) if type(began_s) is int and 0 < began_s < 2**40 else None


def _object(raw: bytes | None) -> dict[str, Any]:
    try:
        value = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def clock_text(at_s: float) -> str:
    """Local date and time with milliseconds."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s)) + f".{int(at_s * 1000) % 1000:03}"


def span_text(seconds: float | None) -> str:
    """A length of time for people: `850 ms`, `12 s`, `5 min`, `3 h`, `2 d`."""
    if seconds is None:
        return "-"
    for limit, size, unit in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
