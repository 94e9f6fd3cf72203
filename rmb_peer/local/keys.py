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

OUTBOX_LARGE_PREFIX = "rmb:outbox:large:"
"""List per large item in the outbox, by the id of its entry: holds the item alone. The entry has the kind in capitals,
and roughly the size in the place of the content. Both are made, and forgotten, at one instant."""

PARCEL_PREFIX = "rmb:parcel:"
"""List per large value on its way to a list of a program: holds the value alone, `large_values.PARCEL_S` long."""

PARCEL_TEXT_PREFIX = "rmb:parcel:text:"
"""String per large value that is being written piece by piece; lives no longer."""

PARCEL_NAME_PREFIX = "rmb:parcel:name:"
"""List that exists within one script: SORT reads from it which string to copy."""

TAKING_REQUESTS = "rmb:taking:local"
"""List. Target of the blocking move that waits for requests; emptied into the outbox."""

TAKING_REPLIES = "rmb:taking:reply"
"""List. The same for answers."""

DEAD = "rmb:dead"
"""Stream. What could not be delivered, with the reason."""

DEAD_ENTRIES_MAX = 10_000
"""A guess: enough to look into, small enough to forget."""

BACKLOG_PREFIX = "rmb:backlog:"
"""String per request that waits for answers: a serialised `Backlog`. It has no expiry while somebody is still to
answer, because the deadline error needs it however late it is told; afterwards it lives as long as the request."""

DEADLINES = "rmb:deadlines"
"""Sorted set. The uid of each request that is not answered by everybody yet, by the Unix second at which the silent
ones become errors. Written in the same script as the backlog record."""

OPEN_PREFIX = "rmb:open:"
"""Hash per request to several destinations: twin to how often it was asked, for those that have not ended yet."""

TOLD_PREFIX = "rmb:told:"
"""Set per request to several destinations: twins whose ending was an error of ours; a later answer does not count."""

REMEMBERED = "rmb:outbox:remembered"
"""String. The last outbox entry whose backlog was written. What is found again up to here was remembered before."""

TAKES = "rmb:outbox:takes"
"""String. How many takes put something into the outbox; so a gateway notices that the answer to one is missing."""

PROBE = "rmb:probe"
"""Never exists. An empty SETRANGE on it changes nothing, and fails as every write would (full memory, full disk)."""

JOURNAL = "rmb:journal"
"""Stream. What happened to messages, packed; advisory, bounded by bytes and age (`journal_store`)."""

STATUS_LIVE = "rmb:status:live"
"""String. What the gateway knows at the moment, as JSON; written anew every few seconds."""

GATEWAY_CLIENT_PREFIX = "rmb-gateway-"
"""Begins the name of a gateway's connections in CLIENT LIST; two gateways on one store see each other by it."""

CALLER_GONE = "the caller has gone"
"""Put as a string in the place of a `ret` list by a program that no longer waits: what comes then is dropped, because
it would make a list for nobody."""

UNREAD_ERROR_S = 24 * 3600
"""How long a `ret` list is kept that holds only an error about silence: its reader has mostly gone. A guess."""

SEEN_PREFIX = "rmb:seen:"
"""String per message received; lives as long as the message, so that a repeat is recognised."""

UID_KEY = "rmb:uid-key"
"""String. Random bytes, made once per Redis, from which the uids of requests are derived."""

STATUS = "rmb:status"
"""Hash. Who this gateway is (twin, account, relays, version), for commands that talk only to Redis. What changes while
it runs is in `STATUS_LIVE`."""


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


OWN_RECORD = "rmb:own-record"
"""String. Our record as the registry last had it, for a start while the registry is away."""


def command_list(command: str) -> str:
    """The list on which a service waits for `command`."""
    return COMMAND_PREFIX + command
