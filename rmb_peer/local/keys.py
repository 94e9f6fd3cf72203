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


# Leases: how a service takes work without losing it when it dies (README, "Services that may crash").

LEASES = "rmb:leases"
"""Set. Names of lease lists; a janitor looks into those whose worker has no heartbeat."""

LEASE_PREFIX = "rmb:lease:"
"""List per lease, `rmb:lease:<worker>:<slot>:<command>`: what this slot of this worker has in hand, one entry."""

ALIVE_PREFIX = "rmb:alive:"
"""String per worker, with expiry: its heartbeat. Gone means dead."""

RETRIES = "rmb:retries"
"""Hash. How often unfinished work of a command is tried again, by command; absent means the default."""

TRIES_PREFIX = "rmb:tries:"
"""String per entry that a worker left unfinished: how many did. By the SHA-1 of the entry; lives as long as it."""

LATER = "rmb:later"
"""Sorted set. Unfinished work that waits for its next try, by Unix time; `reclaim.lua` writes the members."""


def lease_list(worker: str, slot: str, command: str) -> str:
    """The list that holds what one slot of a worker has in hand."""
    return f"{LEASE_PREFIX}{worker}:{slot}:{command}"


def command_list(command: str) -> str:
    """The list on which a service waits for `command`."""
    return COMMAND_PREFIX + command
