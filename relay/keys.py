"""The names of everything that the relay keeps in its store, in one place. It refuses to know what the values are.

On a single server mailboxes have the names that relays of other makes give them, so that a store can be shared
(spec rmb 6.7). On a cluster all keys of one twin carry the hash tag `{<twin>}`, so that one script can touch them.
"""

from rmb_peer.protocol.address import Address


def mailbox_key(owner: Address, *, cluster: bool = False) -> str:
    """The stream that holds the undelivered envelopes of one session."""
    twin = f"{{{owner.twin}}}" if cluster else str(owner.twin)
    return f"stream:{twin}" if owner.session is None else f"stream:{twin}:{owner.session}"


def stored_key(twin: int) -> str:
    """How much is stored for a twin: a hash of counts."""
    return f"relay.stored:{{{twin}}}"


def mailbox_field(owner: Address) -> str:
    """The field of `stored_key` that counts one mailbox."""
    return "m" if owner.session is None else f"m:{owner.session}"


def owner_of_field(twin: int, field: bytes) -> Address | None:
    """The mailbox that a field counts; `None` when it counts something else."""
    kind, colon, session = field.partition(b":")
    if kind != b"m":
        return None
    try:
        return Address(twin, session.decode() if colon else None)
    except UnicodeDecodeError:
        return None


def owner_of_mailbox(key: bytes) -> Address | None:
    """The reverse of `mailbox_key`, for both layouts; `None` when it is no such key."""
    kind, _, rest = key.partition(b":")
    twin, colon, session = rest.partition(b":")
    number = _read_twin(twin[1:-1] if twin.startswith(b"{") and twin.endswith(b"}") else twin)
    if kind != b"stream" or number is None:
        return None
    try:
        return Address(number, session.decode() if colon else None)
    except UnicodeDecodeError:
        return None


def twin_of_stored(key: bytes) -> int | None:
    """The reverse of `stored_key`; `None` when it is no such key."""
    if not (key.startswith(b"relay.stored:{") and key.endswith(b"}")):
        return None
    return _read_twin(key[len(b"relay.stored:{") : -1])


def _read_twin(text: bytes) -> int | None:
    if not (text.isdigit() and len(text) <= 10) or (text.startswith(b"0") and text != b"0"):
        return None
    return int(text)


def dropped_key(process: str, twin: int | None = None) -> str:
    """A list of what was dropped for appends of a process, until it has told the requesters; on a cluster, of those for
    one twin."""
    return f"relay.dropped.{process}" if twin is None else f"relay.dropped.{process}:{{{twin}}}"


def presence_key(twin: int) -> str:
    """Where the sessions of a twin are connected: a hash, session to process and generation."""
    return f"relay.presence:{{{twin}}}"


def outbox_key(domain: str) -> str:
    """The stream of envelopes that wait for another relay."""
    return f"relay.outbox:{{{domain}}}"


def outbox_state_key(domain: str) -> str:
    """What is known about an outbox and its relay: a hash of bytes, health, and what the operator has asked for."""
    return f"relay.outbox.state:{{{domain}}}"


def outbox_lease_key(domain: str) -> str:
    """The process that empties an outbox, for a few seconds at a time."""
    return f"relay.outbox.lease:{{{domain}}}"


def outbox_marker_key(domain: str, process: str) -> str:
    """What became of the last batch that a process put into an outbox, so that a repetition only reads it."""
    return f"relay.outbox.put:{{{domain}}}:{process}"


OUTBOX_CALLS = "relay.outbox.calls"
"""The channel on which processes tell each other that something was put into an outbox."""


def presence_field(session: str | None) -> str:
    """Which session, in that hash. Absent and empty ids are two sessions."""
    return "-" if session is None else f"={session}"


def appended_key(process: str, twin: int | None = None) -> str:
    """The number and the result of a process's last batch of appends; on a cluster, of those for one twin."""
    return f"relay.appended.{process}" if twin is None else f"relay.appended.{process}:{{{twin}}}"


def process_channel(process: str) -> str:
    """Where a process is told about its sessions."""
    return f"relay.process.{process}"


def lease_key(name: str) -> str:
    """Who does a kind of work at present: a string that expires."""
    return f"relay.lease:{{{name}}}"


STORED = "relay.stored"
"""How much is stored in all: a hash of counts."""

OUTBOXES = "relay.outboxes"
"""The set of relays for which something waits, or waited."""

IDENTITY = "relay.identity"
"""The secret seed of the relay, in hex, unless it is kept in a file."""


def posted_key(digest: str) -> str:
    """What became of something that another relay posted, for a few minutes."""
    return f"relay.posted:{{{digest}}}"


PROCESSES = "relay.processes"
"""The processes that live: a sorted set, by the millisecond until which they are believed to."""

JOINS = "{relay.processes}.joins"
"""How often a process has begun: a number. In the same slot as `PROCESSES`."""

PROCESSES_CHANNEL = "relay.processes"
"""Where a process that begins says so."""
