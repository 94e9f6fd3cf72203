"""Transactions: compose, sign, send, wait until they are final, read how they ended (spec tfchain 3, 6).

Work for `connection` that must not be repeated. For the thread; blocks. Transactions are mortal: what has not been
taken after 64 blocks never will be.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rmb_peer.protocol.signatures import KeyType, Signer
from rmb_peer.protocol.ss58 import encode_account
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.tfchain.errors import (
    NoAccount,
    NodeFailed,
    NodeRefused,
    OutcomeUnknown,
    TransactionRefused,
)
from rmb_peer.registry.tfchain.layout import PALLET
from rmb_peer.registry.tfchain.node import Node, library_failures
from rmb_peer.registry.tfchain.reading import Unreadable, read_twin_of, read_values
from rmb_peer.registry.tfchain.records import decode_free_units
from rmb_peer.registry.tfchain.refusals import refused_by_pool, refused_in_block
from rmb_peer.registry.tfchain.scale import BadScale
from rmb_peer.registry.tfchain.storage import account_key, terms_key
from rmb_peer.registry.tfchain.terms import Terms

if TYPE_CHECKING:
    from substrateinterface import SubstrateInterface

ERA_BLOCKS = 64
"""Blocks for which a transaction is valid: six minutes. A guess; the usual number of Substrate's own clients."""

WRITE_S_MAX = 120.0
"""Everything about one transaction. A guess: a block takes 6 s, finality some more of them, and queues happen."""

RESULT_S_MAX = 15.0
"""Reading how it ended, when waiting for finality has used up the time; a guess."""

_CRYPTO_TYPES: dict[KeyType, int] = {"ed25519": 0, "sr25519": 1}  # MultiSignature (spec tfchain 1)


@dataclass(frozen=True, slots=True)
class Change:
    """What an account wants the chain to say.

    Attributes:
        create: make a twin; otherwise change the one that is there.
        relay: text of the relay field, see `records.relay_text`.
        public_key: its pk field.
        terms: to be accepted first.
    """

    create: bool
    relay: str | None
    public_key: bytes | None
    terms: Terms | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """How a change ended.

    Attributes:
        twin: the record as it stands now.
        final: whether its block cannot be reverted any more.
    """

    twin: Twin
    final: bool


class _Keypair:
    """Our signer, in the shape that the library asks for; it never sees the secret."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.public_key = signer.account
        self.ss58_address = encode_account(signer.account)
        self.crypto_type = _CRYPTO_TYPES[signer.key_type]

    def sign(self, payload: Any) -> bytes:
        """The 64 bytes of a signature over a `ScaleBytes`."""
        return self._signer.sign(bytes(payload.data))[1:]


def write(node: Node, signer: Signer, change: Change) -> Written:
    """Make one change, and wait until it is in a block that stays.

    Raises:
        NoAccount, NotEnoughBalance, TermsNotAccepted, TwinExists, NoTwinToUpdate, TwinOfAnotherAccount,
            RelayTextRefused, TransactionRefused: the chain does not do it; says what would help.
        OutcomeUnknown: it was sent, and then the node was lost.
        ChainUnavailable: another transaction of this account is under way.
        NodeFailed: the node was lost before it was sent.
    """
    free_units = _free_units(node, signer.account)
    try:
        with library_failures():
            data = _signed(node, signer, change)
    except NodeRefused as error:
        raise NodeFailed(f"it does not help to compose a transaction: {error}") from None
    block, final = _send(node, data, free_units)
    try:
        error_name = _error_in_block(node, block, data)
        record = read_twin_of(node, signer.account, block) if error_name is None else None
    except (NodeFailed, NodeRefused) as failure:
        raise _unknown(failure) from None
    if error_name is not None:
        raise refused_in_block(error_name, change.relay)
    if not isinstance(record, Twin):
        raise _unknown(record.reason if isinstance(record, Unreadable) else "it shows no twin of this account")
    return Written(record, final)


def _free_units(node: Node, account: bytes) -> int:
    try:
        value = read_values(node, [account_key(account)])[0]
        free_units = 0 if value is None else decode_free_units(value)
    except (NodeRefused, BadScale) as error:
        raise NodeFailed(f"it does not tell the balance of our account: {error}") from None
    if value is None:
        raise NoAccount(
            f"the account {encode_account(account)} does not exist on this chain: send it some TFT first "
            "(0.1 is plenty: a transaction costs about 0.001)"
        )
    return free_units


def _signed(node: Node, signer: Signer, change: Change) -> str:
    """The whole transaction in hex."""
    interface = node.interface()
    terms_known = read_values(node, [terms_key(signer.account)])[0] is not None
    calls = []
    if change.terms is not None and not terms_known:
        link, digest = change.terms.link.encode(), change.terms.digest.encode()
        calls.append(_compose(interface, PALLET, "user_accept_tc", document_link=link, document_hash=digest))
    function = "create_twin" if change.create else "update_twin"
    relay = None if change.relay is None else change.relay.encode()  # as bytes: a text `0x…` would be read as hex
    calls.append(_compose(interface, PALLET, function, relay=relay, pk=change.public_key))
    call = calls[0] if len(calls) == 1 else _compose(interface, "Utility", "batch_all", calls=calls)
    extrinsic = interface.create_signed_extrinsic(call=call, keypair=_Keypair(signer), era={"period": ERA_BLOCKS})
    return str(extrinsic.data)


def _compose(interface: "SubstrateInterface", pallet: str, function: str, **arguments: Any) -> Any:
    return interface.compose_call(call_module=pallet, call_function=function, call_params=arguments)


def _send(node: Node, data: str, free_units: int) -> tuple[str, bool]:
    """Send it and wait. Returns the hash of its block, and whether that is final."""
    in_block: list[str] = []

    def on_status(status: Any, _subscription: str) -> tuple[str, str] | None:
        name, value = next(iter(status.items())) if isinstance(status, dict) and status else (status, "")
        match str(name).lower():
            case "inblock":
                in_block[:] = [str(value)]
            case "retracted":
                in_block.clear()
            case "finalized":
                return "finalized", str(value)
            case "invalid" | "dropped" | "usurped" | "finalitytimeout" as ended:
                return ended, ""
        return None

    try:
        ended, block = node.subscribe("author_submitAndWatchExtrinsic", [data], on_status)
    except NodeRefused as error:
        raise refused_by_pool(error, free_units) from None
    except NodeFailed as failure:
        if not in_block:
            raise _unknown(failure) from None
        ended, block = "finalitytimeout", ""
    if ended == "finalized":
        return block, True
    if ended == "finalitytimeout" and in_block:
        node.limit(RESULT_S_MAX)
        return in_block[0], False
    raise TransactionRefused(
        f"the node gave the transaction up ({ended}): another program with this key may have sent one meanwhile; try "
        "again"
    )


def _error_in_block(node: Node, block_hash: str, data: str) -> str | None:
    """The name of the error with which the transaction ended; `None` when it succeeded."""
    answer = node.request("chain_getBlock", block_hash)
    with library_failures():
        index = answer["block"]["extrinsics"].index(data)
        interface = node.interface(block_hash)
        events = [event.value for event in interface.get_events(block_hash)]
        for event in events:
            if event["extrinsic_idx"] != index or event["module_id"] != "System":
                continue
            if event["event_id"] == "ExtrinsicSuccess":
                return None
            if event["event_id"] == "ExtrinsicFailed":
                return _error_name(interface.metadata, event["attributes"]["dispatch_error"])
    raise NodeFailed("it does not say how the transaction ended")


def _error_name(metadata: Any, error: Any) -> str:
    module = error.get("Module") if isinstance(error, dict) else None
    if module is None:
        return str(error)
    number = int.from_bytes(bytes.fromhex(module["error"].removeprefix("0x"))[:1])  # the other three bytes are zero
    return str(metadata.get_module_error(module_index=module["index"], error_index=number).name)


def _unknown(reason: object) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the transaction was sent, but how it ended could not be learnt ({reason}): it may still take effect within "
        f"{ERA_BLOCKS} blocks; look at the record before trying again"
    )
