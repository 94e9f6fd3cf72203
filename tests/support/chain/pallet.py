"""What the chain does with the three calls that a twin needs: their checks in order, their effects, their events.

The rules are those of spec tfchain 3 and 4, measured on the real runtime; passing here proves a client's wiring, not
the chain's rules. State goes in and out as a mapping. It refuses to know blocks, fees and signatures.
"""

import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from tests.support.chain import keys
from tests.support.chain.codec import Reader, compact, option, text, u32, u64
from tests.support.chain.runtime import TFGRID, Runtime

RELAY_BYTES_MAX = 1024
PK_BYTES_MAX = 128
LINK_BYTES_MAX = 2048
HASH_BYTES_MAX = 50
"""What the chain can decode (spec tfchain 2, 3)."""

_LINK = re.compile(rb"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]+")
_HASH = re.compile(rb"[A-Za-z0-9\-_]+")
_RELAY = re.compile(rb"[A-Za-z0-9\-_.]+")

State = MutableMapping[bytes, bytes]


class DispatchFailed(Exception):
    """A call was carried out and failed; the text is the name of the error in the pallet."""


class NotHere(Exception):
    """The real chain has this call, the stand-in has not."""


@dataclass(frozen=True, slots=True)
class StoredTwin:
    """A twin as the chain keeps it.

    Attributes:
        relay: the text of the relay field, undivided.
        pk: raw bytes, whatever they are.
    """

    id: int
    account: bytes
    relay: bytes | None
    pk: bytes | None

    def encode(self) -> bytes:
        """The value in storage and in events; entities are always empty (spec tfchain 2)."""
        return u32(self.id) + self.account + option(self.relay) + compact(0) + option(self.pk)


def decode_twin(raw: bytes) -> StoredTwin:
    """The inverse of `StoredTwin.encode`."""
    reader = Reader(raw)
    number, account = reader.number(4), reader.take(32)
    relay = reader.option(RELAY_BYTES_MAX)
    assert reader.compact() == 0, "the stand-in has no entities"
    pk = reader.option(PK_BYTES_MAX)
    reader.end()
    return StoredTwin(number, account, relay, pk)


def relay_is_accepted(relay: bytes) -> bool:
    """Spec tfchain 4, the table, quirk included."""
    return bool(
        _RELAY.fullmatch(relay)
        and not relay.startswith(b".")
        and not relay.endswith(b".")
        and b".." not in relay
        and relay[1:2] != b"."
    )


@dataclass(frozen=True, slots=True)
class Context:
    """What a call sees: the state that it changes, who signed, the time, and where numbers come from."""

    state: State
    signer: bytes
    now_ms: int
    runtime: Runtime


def create_twin(context: Context, relay: bytes | None, pk: bytes | None) -> list[bytes]:
    """A new twin for the signer.

    Raises:
        DispatchFailed: spec tfchain 3, in the order of its table.
    """
    state, signer = context.state, context.signer
    if not state.get(keys.terms_of_account(signer)):
        raise DispatchFailed("UserDidNotSignTermsAndConditions")
    if keys.twin_of_account(signer) in state:
        raise DispatchFailed("TwinWithPubkeyExists")
    _check_relay(relay)
    number = int.from_bytes(state.get(keys.TWIN_COUNT, b""), "little") + 1
    twin = StoredTwin(number, signer, relay, pk)
    state[keys.TWIN_COUNT] = state[keys.twin_of_account(signer)] = u32(number)
    state[keys.twin(number)] = twin.encode()
    return [context.runtime.event(TFGRID, "TwinStored", twin.encode())]


def update_twin(context: Context, relay: bytes | None, pk: bytes | None) -> list[bytes]:
    """Replace both fields of the signer's twin.

    Raises:
        DispatchFailed: as above.
    """
    raw = context.state.get(keys.twin_of_account(context.signer))
    if raw is None:
        raise DispatchFailed("TwinNotExists")
    _check_relay(relay)
    twin = StoredTwin(int.from_bytes(raw, "little"), context.signer, relay, pk)
    context.state[keys.twin(twin.id)] = twin.encode()
    return [context.runtime.event(TFGRID, "TwinUpdated", twin.encode())]


def user_accept_tc(context: Context, link: bytes, digest: bytes) -> list[bytes]:
    """Append to the signer's list of accepted terms. No event.

    Raises:
        DispatchFailed: as above.
    """
    for value, pattern, name in ((link, _LINK, "DocumentLinkInput"), (digest, _HASH, "DocumentHashInput")):
        if not value:
            raise DispatchFailed(f"{name}TooShort")
        if not pattern.fullmatch(value):
            raise DispatchFailed(f"Invalid{name}")
    key = keys.terms_of_account(context.signer)
    reader = Reader(context.state.get(key, compact(0)))
    count = reader.compact()
    accepted = context.signer + u64(context.now_ms // 1000) + text(link) + text(digest)
    context.state[key] = compact(count + 1) + reader.data[reader.at :] + accepted
    return []


def _check_relay(relay: bytes | None) -> None:
    if relay is not None and not relay_is_accepted(relay):
        raise DispatchFailed("InvalidRelayAddress")


Run = Callable[[Context], list[bytes]]


def read_call(runtime: Runtime, reader: Reader) -> Run:
    """The call that begins here, ready to be carried out.

    Raises:
        BadScale: the runtime could not decode it either: it traps (spec tfchain 3, "Too long").
        NotHere: it is another call.
    """
    name = runtime.call_name(reader.number(1), reader.number(1))
    if name in ("TfgridModule.create_twin", "TfgridModule.update_twin"):
        relay, pk = reader.option(RELAY_BYTES_MAX), reader.option(PK_BYTES_MAX)
        change = create_twin if name.endswith("create_twin") else update_twin
        return lambda context: change(context, relay, pk)
    if name == "TfgridModule.user_accept_tc":
        link, digest = reader.text(LINK_BYTES_MAX), reader.text(HASH_BYTES_MAX)
        return lambda context: user_accept_tc(context, link, digest)
    if name == "Utility.batch_all":
        calls = [read_call(runtime, reader) for _ in range(reader.compact())]
        return lambda context: _batch(context, calls)
    raise NotHere(f"the stand-in does not carry out {name or 'calls without a name'}")


def _batch(context: Context, calls: list[Run]) -> list[bytes]:
    events = []
    for call in calls:
        events += [*call(context), context.runtime.event("Utility", "ItemCompleted")]
    return [*events, context.runtime.event("Utility", "BatchCompleted")]
