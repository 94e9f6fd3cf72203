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


OUTBOXES = "relay.outboxes"
"""The set of relays for which something waits, or waited."""

IDENTITY = "relay.identity"
"""The secret seed of the relay, in hex, unless it is kept in a file."""


def posted_key(digest: str) -> str:
    """What became of something that another relay posted, for a few minutes."""
    return f"relay.posted:{{{digest}}}"
