"""Every Redis key that a gateway touches, and how long it lives.

Keys under `msgbus.` are the interface for local programs (spec rmb 5.1). Keys under `rmb:` are ours: a remote command
can name anything below `msgbus.`, but never one of these.
"""

OWN_PREFIX = "rmb:"
"""What is ours begins with this; no program and no peer may name such a key."""

LOCAL_REQUESTS = "msgbus.system.local"
"""List. Clients push requests here; they are taken from the tail, whichever end they were pushed to."""

LOCAL_REPLIES = "msgbus.system.reply"
"""List. Services push their answers here."""

COMMAND_PREFIX = "msgbus."
"""A request with command `x` is pushed to the list `msgbus.x`."""

LIST_ENTRIES_MAX = 10_000
"""Entries that one service list or `ret` list may hold (the Rust gateway trims to this number, spec rmb 5.1)."""

OUTBOX = "rmb:outbox"
"""Stream. What was taken and has not yet safely left."""

TAKING_REQUESTS = "rmb:taking:local"
"""List. Target of the blocking move that waits for requests; emptied into the outbox."""

TAKING_REPLIES = "rmb:taking:reply"
"""List. The same for answers."""

DEAD = "rmb:dead"
"""Stream. What could not be delivered, with the reason."""

DEAD_ENTRIES_MAX = 10_000
"""A guess: enough to look into, small enough to forget."""

BACKLOG_PREFIX = "rmb:backlog:"
"""String per request that waits for answers: a serialised `Backlog`; lives as long as the request."""

SEEN_PREFIX = "rmb:seen:"
"""String per message received; lives as long as the message, so that a repeat is recognised."""

UID_KEY = "rmb:uid-key"
"""String. Random bytes, made once per Redis, from which the uids of requests are derived."""

STATUS = "rmb:status"
"""Hash. Who this gateway is (twin, account, relays, version), for commands that talk only to Redis."""

OWN_RECORD = "rmb:own-record"
"""String. Our record as the registry last had it, for a start while the registry is away."""


def command_list(command: str) -> str:
    """The list on which a service waits for `command`."""
    return COMMAND_PREFIX + command
