"""What is read from a node, as work for `connection`: many storage values in one question, and twins out of them.

For the thread; blocks. It refuses to know which node answers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.tfchain.errors import NodeFailed, NodeOfWrongChain, NodeRefused
from rmb_peer.registry.tfchain.layout import wrong_with
from rmb_peer.registry.tfchain.node import Node
from rmb_peer.registry.tfchain.records import decode_twin, decode_twin_id
from rmb_peer.registry.tfchain.scale import BadScale
from rmb_peer.registry.tfchain.storage import LAST_TWIN_ID_KEY, twin_id_key, twin_key

READ_KEYS_MAX = 256
"""Keys of one question: "a few hundred", since public nodes may limit their answers (spec tfchain 8)."""

METHOD_NOT_FOUND = -32601
"""JSON-RPC 2.0, section 5.1."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a twin whose record cannot be used; `reason` says why."""

    reason: str


Record = Twin | Unreadable | None


class ChainCheck:
    """Makes sure that a node serves tfchain, and the same chain as the nodes before it.

    The metadata is looked at once for each version of the runtime: loading it takes a second of computing. Connections
    that share this object agree on the chain.

    Attributes:
        genesis: hash of the first block of the chain that the first good node serves; `None` before.
    """

    def __init__(self) -> None:
        self.genesis: str | None = None
        self._good_versions: set[int] = set()

    def __call__(self, node: Node) -> None:
        """Look at a node that has just been connected.

        Raises:
            NodeOfWrongChain: it serves something else.
            NodeFailed: it does not say.
        """
        if self.genesis not in (None, node.genesis):
            raise NodeOfWrongChain(f"it serves another chain than the node before (its first block is {node.genesis})")
        try:
            version = node.spec_version()
            if version in self._good_versions:
                return
            wrong = wrong_with(node.interface().metadata)
        except NodeRefused as error:
            raise NodeFailed(f"it does not describe its chain: {error}") from None
        if wrong is not None:
            raise NodeOfWrongChain(wrong)
        self.genesis = node.genesis
        self._good_versions.add(version)


def read_values(node: Node, keys: Sequence[bytes], at: str | None = None) -> list[bytes | None]:
    """Values of up to `READ_KEYS_MAX` storage keys, all of one block.

    Args:
        node: whom to ask.
        keys: see `storage`.
        at: hash of the block; the best one by default.

    Raises:
        NodeFailed, NodeRefused: see `Node.request`.
    """
    asked = ["0x" + key.hex() for key in keys]
    block = [] if at is None else [at]
    try:
        answer = node.request("state_queryStorageAt", asked, *block)
    except NodeRefused as error:
        if error.code != METHOD_NOT_FOUND:
            raise
        return [_bytes(node.request("state_getStorage", key, *block)) for key in asked]
    try:
        found = {key: value for part in answer for key, value in part["changes"]}
        return [_bytes(found[key]) for key in asked]
    except (TypeError, ValueError, KeyError):
        raise NodeFailed("it did not answer for every key that was asked") from None


def read_twins(node: Node, twin_ids: Iterable[int], at: str | None = None) -> dict[int, Record]:
    """The records of up to `READ_KEYS_MAX` twins, in one question.

    Raises:
        NodeFailed, NodeRefused: see `Node.request`.
    """
    ids = list(dict.fromkeys(twin_ids))
    values = read_values(node, [twin_key(twin_id) for twin_id in ids], at)
    return {twin_id: _record(twin_id, value) for twin_id, value in zip(ids, values, strict=True)}


def read_twin_of(node: Node, account: bytes, at: str | None = None) -> Record:
    """The record of an account's twin.

    Raises:
        NodeFailed, NodeRefused: see `Node.request`.
    """
    twin_id = _number(read_values(node, [twin_id_key(account)], at)[0])
    if twin_id is None:
        return None
    record = read_twins(node, [twin_id], at)[twin_id]
    if record is None:
        return Unreadable(f"the chain names twin {twin_id} and does not have it")
    if isinstance(record, Twin) and record.account != account:
        return Unreadable(f"twin {twin_id} belongs to another account")
    return record


def read_last_twin_id(node: Node, at: str | None = None) -> int:
    """The greatest twin id; 0 when there are no twins.

    Raises:
        NodeFailed, NodeRefused: see `Node.request`.
    """
    return _number(read_values(node, [LAST_TWIN_ID_KEY], at)[0]) or 0


def read_best_hash(node: Node) -> str:
    """Hash of the best block, so that several questions can be about one state.

    Raises:
        NodeFailed, NodeRefused: see `Node.request`.
    """
    found = node.request("chain_getBlockHash")
    if not isinstance(found, str):
        raise NodeFailed("it does not say which block is its best")
    return found


def _record(twin_id: int, value: bytes | None) -> Record:
    if value is None:
        return None
    try:
        twin = decode_twin(value)
    except BadScale as error:
        return Unreadable(f"the record of twin {twin_id} cannot be read: {error}")
    if twin.id != twin_id:
        return Unreadable(f"asked for twin {twin_id}, the node served the record of twin {twin.id}")
    return twin


def _number(value: bytes | None) -> int | None:
    try:
        return decode_twin_id(value)
    except BadScale as error:
        raise NodeFailed(f"a twin id that it serves is none: {error}") from None


def _bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.startswith("0x"):
        raise NodeFailed("it served a value that is not in hex")
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise NodeFailed("it served a value that is not in hex") from None
