"""From the chain's record of a twin to ours, and to the texts that are written back (spec tfchain 2, 4, 5). Pure."""

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import join_relays, split_relays
from rmb_peer.protocol.signatures import ACCOUNT_BYTES
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.tfchain.errors import RelayTextRefused
from rmb_peer.registry.tfchain.scale import BadScale, Reader

RELAY_BYTES_MAX = 1024
PK_BYTES_MAX = 128
ENTITIES_MAX = 100_000
"""The chain sets no limit; a guess, far above the practical number, which is none."""
SIGNATURE_BYTES_MAX = 1024 * 1024
"""Of an entity; the same holds."""

FREE_UNITS_AT = 16
"""Where the free balance begins in `System.Account`: after four u32."""

LINK_BYTES_MAX, HASH_BYTES_MAX = 2048, 50
"""Of accepted terms (spec tfchain 2)."""

_PK_BYTES = 33


def decode_twin(data: bytes) -> Twin:
    """Read the value of `Twins(id)`; the events `TwinStored` and `TwinUpdated` carry the same.

    Raises:
        BadScale: the bytes are no twin.
    """
    reader = Reader(data)
    twin_id, account = reader.u32(), reader.take(ACCOUNT_BYTES)
    relay = reader.optional_text(RELAY_BYTES_MAX)
    for _ in range(reader.compact(ENTITIES_MAX)):
        reader.u32()
        reader.text(SIGNATURE_BYTES_MAX)
    pk = reader.optional_text(PK_BYTES_MAX)
    reader.end()
    if twin_id == 0:
        raise BadScale("the id is 0, which is nobody")
    return Twin(twin_id, account, _relays(relay), _public_key(pk))


def decode_twin_id(data: bytes | None) -> int | None:
    """Read the value of `TwinIdByAccountID` or `TwinID`; `None` when there is none. Old runtimes say 0 for none.

    Raises:
        BadScale: the bytes are no number.
    """
    if data is None:
        return None
    reader = Reader(data)
    number = reader.u32()
    reader.end()
    return number or None


def decode_free_units(data: bytes) -> int:
    """The free balance in a value of `System.Account`.

    Raises:
        BadScale: the bytes are too short.
    """
    reader = Reader(data)
    reader.take(FREE_UNITS_AT)
    return int.from_bytes(reader.take(16), "little")


def relay_text(relays: frozenset[str]) -> str | None:
    """The relay field for these relays, as the chain accepts it; `None` for none.

    Raises:
        RelayTextRefused: the chain would not take it; says why.
    """
    if not relays:
        return None
    try:
        text = join_relays(relays)
    except BadRequest as error:
        raise RelayTextRefused(f"{error}; the chain keeps names only, without port") from None
    if len(text) > RELAY_BYTES_MAX:
        raise RelayTextRefused(f"the relays take {len(text)} characters, the chain keeps at most {RELAY_BYTES_MAX}")
    for relay in sorted(relays):
        if relay.startswith(".") or relay.endswith(".") or ".." in relay:
            raise RelayTextRefused(f"{relay!r} has a dot at an end or two in a row, which the chain refuses")
    return _without_quirk(relays, text)


def chain_relays(relays: frozenset[str]) -> frozenset[str]:
    """The names under which the chain can list relays: without ports, as the Rust gateway writes them (spec rmb 7.2).

    Raises:
        RelayTextRefused: one of them can never be listed.
    """
    names = frozenset(name if name.startswith("[") else name.partition(":")[0] for name in relays)
    relay_text(names)
    return names


def _without_quirk(relays: frozenset[str], text: str) -> str:
    """The chain refuses a dot as second character of the whole text, so another name has to come first."""
    if text[1:2] != ".":
        return text
    first = next((relay for relay in sorted(relays) if relay[1:2] != "."), None)
    if first is None:
        raise RelayTextRefused(
            f"the chain refuses {text!r}: a name whose first label has one letter cannot stand first; "
            "list another relay besides, or use a longer name"
        )
    return "_".join([first, *sorted(relays - {first})])


def _relays(text: bytes | None) -> frozenset[str]:
    return frozenset() if text is None else split_relays(text.decode("ascii", "replace"))


def _public_key(raw: bytes | None) -> bytes | None:
    """33 bytes; written as hex by old clients (spec tfchain 5).

    Anything else is handed on as it is: encrypting with it fails, whereas "no key" would mean sending in clear to a
    twin that asked for the opposite.
    """
    if not raw:
        return None
    if len(raw) == _PK_BYTES:
        return raw
    digits = raw.removeprefix(b"0x")
    if len(digits) == 2 * _PK_BYTES:
        try:
            return bytes.fromhex(digits.decode("ascii"))
        except ValueError:
            return raw
    return raw
