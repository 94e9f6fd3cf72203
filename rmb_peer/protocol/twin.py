"""A twin: who has an id, which keys it uses, where it can be reached (spec rmb 1)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Twin:
    """One entry of a registry.

    Attributes:
        id: twin id, from 1.
        account: 32 bytes, the public signing key.
        relays: names of the relays it is connected to, as `names.normalize_relay` writes them; may be empty.
        public_key: 33 bytes, the public encryption key; `None` when it wants plain payloads.
        version: grows with every change where the registry counts changes; 0 otherwise.
    """

    id: int
    account: bytes
    relays: frozenset[str]
    public_key: bytes | None
    version: int = 0
