"""Our own record at start: find it, and make it say where we are and which key we use (spec rmb 7.3, spec tfchain 7).

Where writing costs a fee (tfchain) we never make a twin, never write what is there already, and never take relays away
from a record of several unless told to: other programs with the same key may live on those. This module refuses to know
how a registry is reached, and when to try again.
"""

import json
import logging
from dataclasses import dataclass
from typing import Any

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import BadRequest, OtherError
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.names import normalize_relay
from rmb_peer.protocol.ss58 import encode_account
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import Registry

_LOG = get_logger("gateway")


class NoTwin(OtherError):
    """The registry knows no twin with our key, and we may not create one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What our record should say, and what may be done for it.

    Attributes:
        relays: names as the registry can hold them.
        no_update: write nothing.
        costs_a_fee: whether writing does.
        overwrite_relays: whether relays may be taken away from a record of several that costs a fee.
    """

    relays: frozenset[str]
    no_update: bool = False
    costs_a_fee: bool = False
    overwrite_relays: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a record that exists.

    Attributes:
        relays: what it should list.
        write: whether it has to be written.
        kept: whether it goes on listing relays that are not ours.
    """

    relays: frozenset[str]
    write: bool
    kept: bool


def decide(record: Twin, wish: Wish, public_key: bytes) -> Decision:
    """Compare a record with a wish; relays are sets. Pure."""
    kept = len(record.relays) > 1 and bool(record.relays - wish.relays) and not wish.overwrite_relays
    relays = record.relays if kept else wish.relays
    return Decision(relays, (relays, public_key) != (record.relays, record.public_key), kept)


async def settle_own_record(registry: Registry, identity: Identity, wish: Wish) -> Twin:
    """Find our record, write it where that is needed and allowed, and return it.

    Raises:
        RegistryUnavailable: no answer.
        RegistryRefused: the registry does not accept what we want to write.
        NoTwin: there is none, and making one is not for us.
    """
    if not (wish.no_update or wish.costs_a_fee):
        return await registry.put(identity.signer, wish.relays, identity.public_key)
    record = await registry.get_by_account(identity.account)
    if record is None:
        account = encode_account(identity.account)
        hint = (
            f"make one for {account} with `rmb-peer twin create --substrate URL`"
            if wish.costs_a_fee
            else f"register {account} first, or run without --no-update"
        )
        raise NoTwin(f"no twin found on this network with given key: {hint}")
    if wish.no_update:
        return record
    decision = decide(record, wish, identity.public_key)
    if decision.kept:
        event(
            _LOG,
            logging.WARNING,
            "our record lists relays that this gateway does not use, and is left so: --overwrite-relays replaces them",
            twin=record.id,
            recorded=sorted(record.relays),
            ours=sorted(wish.relays),
        )
    if not decision.write:
        return record
    return await registry.put(identity.signer, decision.relays, identity.public_key)


def encode_own_record(twin: Twin, registry: str) -> bytes:
    """Our record as it is kept for a start without registry.

    Args:
        twin: the record.
        registry: names the registry that it is from.
    """
    public_key = twin.public_key and twin.public_key.hex()
    fields = {
        "registry": registry,
        "id": twin.id,
        "account": twin.account.hex(),
        "relays": sorted(twin.relays),
        "public_key": public_key,
        "version": twin.version,
    }
    return json.dumps(fields).encode()


def decode_own_record(raw: bytes | None, registry: str, account: bytes) -> Twin | None:
    """What was kept, if it is about this account and from this registry."""
    if raw is None:
        return None
    try:
        fields: Any = json.loads(raw)
        if (fields["registry"], fields["account"]) != (registry, account.hex()):
            return None
        relays = frozenset(normalize_relay(str(name)) for name in fields["relays"])
        public_key = fields["public_key"]
        return Twin(
            int(fields["id"]),
            account,
            relays,
            None if public_key is None else bytes.fromhex(public_key),
            int(fields["version"]),
        )
    except (ValueError, KeyError, TypeError, BadRequest):
        return None  # written by another version: as if there were none
