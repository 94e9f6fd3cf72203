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


def presence_key(twin: int) -> str:
    """Where the sessions of a twin are connected: a hash, session to process and generation."""
    return f"relay.presence:{{{twin}}}"


def outbox_key(domain: str) -> str:
    """The stream of envelopes that wait for another relay."""
    return f"relay.outbox:{{{domain}}}"


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


OUTBOXES = "relay.outboxes"
"""The set of relays for which something waits, or waited."""

IDENTITY = "relay.identity"
"""The secret seed of the relay, in hex, unless it is kept in a file."""

PROCESSES = "relay.processes"
"""The processes that live: a sorted set, by the millisecond until which they are believed to."""

JOINS = "{relay.processes}.joins"
"""How often a process has begun: a number. In the same slot as `PROCESSES`."""

PROCESSES_CHANNEL = "relay.processes"
"""Where a process that begins says so."""
