"""From the chain's names and numbers of errors to ours, with what would help (spec tfchain 3, "Errors"). Pure."""

from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.tfchain.errors import (
    ChainUnavailable,
    NodeRefused,
    NotEnoughBalance,
    NoTwinToUpdate,
    RelayTextRefused,
    TermsNotAccepted,
    TransactionRefused,
    TwinExists,
    TwinOfAnotherAccount,
)

UNITS_PER_TFT = 10_000_000
FEE_UNITS_MAX = 12_700
"""Largest fee measured, plus the deposit that keeps an account alive: 12 158 + 500 (spec tfchain 1, 6)."""

INVALID_TRANSACTION = 1010
LATER = (1012, 1013, 1014)
"""Banned for a while; in the pool already; another one with this number is, and offers as much."""

_OUTDATED = ("stale", "outdated")


def refused_by_pool(error: NodeRefused, free_units: int) -> RegistryRefused | RegistryUnavailable:
    """A transaction that the node did not take at all.

    Args:
        error: the node's words; each node has its own (spec tfchain 3).
        free_units: what the account owns.
    """
    words = error.text.lower()
    if error.code == INVALID_TRANSACTION and ("pay" in words or free_units < FEE_UNITS_MAX):
        return NotEnoughBalance(
            f"the account has {free_units / UNITS_PER_TFT:.7f} TFT, too little for the fee of about "
            f"{FEE_UNITS_MAX / UNITS_PER_TFT:.4f}: send it some TFT ({error})"
        )
    if error.code in LATER or (error.code == INVALID_TRANSACTION and any(word in words for word in _OUTDATED)):
        return ChainUnavailable(f"another transaction of this account is under way: try again in a minute ({error})")
    return TransactionRefused(f"the node refused the transaction: {error}")


def refused_in_block(name: str, relay: str | None) -> RegistryRefused:
    """A transaction that was carried out and failed; the fee is paid all the same.

    Args:
        name: the error's name in the metadata.
        relay: the text of the relay field that was sent.
    """
    match name:
        case "UserDidNotSignTermsAndConditions":
            return TermsNotAccepted(
                "this account has not accepted the network's terms and conditions: read them, then give the link to "
                "them and their hash with `rmb-peer twin create --accept-terms LINK HASH`"
            )
        case "TwinWithPubkeyExists":
            return TwinExists("this account has a twin already: change it with `rmb-peer twin update`")
        case "TwinNotExists":
            return NoTwinToUpdate("this account has no twin: make one with `rmb-peer twin create`")
        case "UnauthorizedToUpdateTwin":
            return TwinOfAnotherAccount("the twin belongs to another account: check the mnemonic and --key-type")
        case "InvalidRelayAddress":
            return RelayTextRefused(
                f"the chain refuses the relays {relay!r}: names of letters, digits, - and dots, without port, not "
                "beginning with a label of one letter"
            )
        case _:
            return TransactionRefused(f"the chain refused the transaction: {name}")
