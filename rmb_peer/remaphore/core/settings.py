"""What a configuration holds, and the questions the rules ask it (spec remaphore 6, 7, 9)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rmb_peer.remaphore.core.wildcards import matches

PUBLIC_BYTES = 32
PRIVATE_BYTES = 64
PUBLIC_CHARS_MAX = 44
"""Base58 of 32 bytes is 32 to 44 characters (section 2)."""
PRIVATE_CHARS_MAX = 88
"""Base58 of 64 bytes is 64 to 88 characters (section 2)."""

ANY_VERB = b"*"


def allows(verbs: Sequence[bytes], verb: bytes) -> bool:
    """Whether a list allows a verb: it holds exactly this verb, or `*` (section 6)."""
    return ANY_VERB in verbs or verb in verbs


@dataclass(frozen=True, slots=True)
class Identity:
    """One of our own keys."""

    public: bytes
    private: bytes = field(repr=False)  # seed, then public key
    verbs: tuple[bytes, ...]
    consistent: bool = True  # whether the private key belongs to the public one


@dataclass(frozen=True, slots=True)
class Peer:
    """A key of somebody else, and what it may ask for."""

    destination: bytes
    public: bytes
    verbs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole configuration."""

    servers: tuple[str, ...]
    credentials: str
    subject: str
    default_identity: bytes
    destination: bytes
    allow_skew_ns: int
    identities: tuple[Identity, ...]
    peers: tuple[Peer, ...]

    def identity(self, public: bytes) -> Identity | None:
        """The first identity with this key; only the first counts."""
        return next((identity for identity in self.identities if identity.public == public), None)

    def peer(self, public: bytes) -> Peer | None:
        """The first peer with this key; only the first counts."""
        return next((peer for peer in self.peers if peer.public == public), None)

    def expected(self, pattern: bytes) -> list[Peer]:
        """Who is waited for when a request goes to `pattern`: every matching entry, in file order (section 7)."""
        return [peer for peer in self.peers if matches(pattern, peer.destination)]
