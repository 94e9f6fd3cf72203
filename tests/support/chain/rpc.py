"""The JSON-RPC methods of the stand-in (spec tfchain 10, appendix B): parameters into calls of the node, results out.

It refuses to know sockets and faults. A subscription is answered first and told about things afterwards.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from rmb_peer.protocol.ss58 import decode_account
from tests.support.chain.blocks import Block
from tests.support.chain.codec import u32
from tests.support.chain.node import Node, Refused, Status

Notify = Callable[[str, str, Any], None]
"""Takes the notification's method, the subscription's id and the result."""

NAME = "tfchain stand-in: true metadata, not the true chain"


class Session:
    """One client's requests and subscriptions.

    Attributes:
        after: what to do when the answer to the current request has been sent.
    """

    def __init__(self, node: Node, notify: Notify) -> None:
        self._node = node
        self._notify = notify
        self._ids = count(1)
        self._subscriptions: dict[str, Callable[[], None]] = {}
        self.after: list[Callable[[], None]] = []
        self._methods: dict[str, Callable[..., Any]] = {
            name.removeprefix("rpc_"): getattr(self, name) for name in dir(self) if name.startswith("rpc_")
        } | {
            "chain_getHead": self.rpc_chain_getBlockHash,
            "chain_getFinalisedHead": self.rpc_chain_getFinalizedHead,
            "chain_getRuntimeVersion": self.rpc_state_getRuntimeVersion,
            "chain_subscribeNewHead": self.rpc_chain_subscribeNewHeads,
            "state_getStorageAt": self.rpc_state_getStorage,
            "account_nextIndex": self.rpc_system_accountNextIndex,
        }
        for name in ("NewHeads", "NewHead", "FinalizedHeads", "AllHeads"):
            self._methods[f"chain_unsubscribe{name}"] = self._unsubscribe
        for name in ("state_unsubscribeStorage", "state_unsubscribeRuntimeVersion", "author_unwatchExtrinsic"):
            self._methods[name] = self._unsubscribe

    def call(self, method: str, parameters: list[Any]) -> Any:
        """Carry out a request.

        Raises:
            Refused: it gets an error.
        """
        handler = self._methods.get(method)
        if handler is None:
            raise Refused(-32601, "Method not found")
        try:
            return handler(*parameters)
        except (TypeError, ValueError, AttributeError) as error:
            raise Refused(-32602, "Invalid params", str(error)) from error

    def close(self) -> None:
        """End all subscriptions."""
        for end in self._subscriptions.values():
            end()
        self._subscriptions.clear()

    # --- system -------------------------------------------------------------------------------------------------------

    def rpc_rpc_methods(self) -> Any:
        return {"methods": sorted(self._methods)}

    def rpc_system_chain(self) -> Any:
        return NAME

    def rpc_system_name(self) -> Any:
        return NAME

    def rpc_system_version(self) -> Any:
        return "1"

    def rpc_system_chainType(self) -> Any:
        return "Development"

    def rpc_system_health(self) -> Any:
        return {"peers": 0, "isSyncing": False, "shouldHavePeers": False}

    def rpc_system_properties(self) -> Any:
        return {"ss58Format": 42, "tokenDecimals": 7, "tokenSymbol": "TFT"}

    def rpc_system_accountNextIndex(self, who: str) -> Any:
        account = decode_account(who)
        known = self._node.account(account)
        waiting = sum(pooled.signed.account == account for pooled in self._node.pool)
        return (known.nonce if known else 0) + waiting

    # --- chain --------------------------------------------------------------------------------------------------------

    def rpc_chain_getBlockHash(self, number: int | str | list[Any] | None = None) -> Any:
        if isinstance(number, list):
            return [self.rpc_chain_getBlockHash(one) for one in number]
        if number is None:
            return _hex(self._node.best.hash)
        found = self._node.ledger.hash_of(int(number, 0) if isinstance(number, str) else number)
        return None if found is None else _hex(found)

    def rpc_chain_getFinalizedHead(self) -> Any:
        return _hex(self._node.ledger.chain[self._node.ledger.finalized].hash)

    def rpc_chain_getHeader(self, at: str | None = None) -> Any:
        block = self._find(at)
        return None if block is None else block.header()

    def rpc_chain_getBlock(self, at: str | None = None) -> Any:
        block = self._find(at)
        if block is None:
            return None
        extrinsics = [_hex(raw) for raw in block.extrinsics]
        return {"block": {"header": block.header(), "extrinsics": extrinsics}, "justifications": None}

    def rpc_chain_subscribeNewHeads(self) -> Any:
        return self._subscribe_heads("chain_newHead", self._node.listeners.best, self._node.best)

    def rpc_chain_subscribeAllHeads(self) -> Any:
        return self._subscribe_heads("chain_allHead", self._node.listeners.imported, self._node.best)

    def rpc_chain_subscribeFinalizedHeads(self) -> Any:
        ledger = self._node.ledger
        return self._subscribe_heads(
            "chain_finalizedHead", self._node.listeners.finalized, ledger.chain[ledger.finalized]
        )

    def _subscribe_heads(self, method: str, listeners: set[Callable[[Block], None]], current: Block) -> str:
        def heard(block: Block) -> None:
            self._notify(method, name, block.header())

        name = self._add(lambda: listeners.discard(heard))
        listeners.add(heard)
        self.after.append(lambda: heard(current))
        return name

    # --- state --------------------------------------------------------------------------------------------------------

    def rpc_state_getMetadata(self, at: str | None = None) -> Any:
        return _hex(self._state(at).runtime.metadata)

    def rpc_state_getRuntimeVersion(self, at: str | None = None) -> Any:
        return self._state(at).runtime.rpc_version()

    def rpc_state_subscribeRuntimeVersion(self) -> Any:
        told = [self._node.runtime]

        def heard(block: Block) -> None:
            if block.runtime != told[0]:
                told[0] = block.runtime
                self._notify("state_runtimeVersion", name, block.runtime.rpc_version())

        best = self._node.listeners.best
        name = self._add(lambda: best.discard(heard))
        best.add(heard)
        self.after.append(lambda: self._notify("state_runtimeVersion", name, told[0].rpc_version()))
        return name

    def rpc_state_call(self, method: str, parameters: str, at: str | None = None) -> Any:
        if method != "AccountNonceApi_account_nonce":
            raise Refused(4003, f"Client error: Execution failed: {method} is not part of the stand-in")
        self._state(at)
        known = self._node.account(_bytes(parameters))
        return _hex(u32(known.nonce if known else 0))

    def rpc_state_getStorage(self, key: str, at: str | None = None) -> Any:
        return _hex_or_none(self._state(at).get(_bytes(key)))

    def rpc_state_queryStorageAt(self, names: list[str], at: str | None = None) -> Any:
        return [self._changes(self._state(at), [_bytes(name) for name in names])]

    def rpc_state_getKeysPaged(
        self, prefix: str | None, most: int, after: str | None = None, at: str | None = None
    ) -> Any:
        block = self._state(at)
        start, last = _bytes(prefix or "0x"), _bytes(after or "0x")
        found = sorted(key for key in {*block.state, *block.own} if key.startswith(start) and key > last)
        return [_hex(key) for key in found[:most]]

    def rpc_state_subscribeStorage(self, names: list[str]) -> Any:
        wanted = [_bytes(name) for name in names]
        told: dict[bytes, bytes | None] = {key: self._node.best.get(key) for key in wanted}

        def heard(block: Block) -> None:
            changed = [key for key in wanted if block.get(key) != told[key]]
            if changed:
                told.update({key: block.get(key) for key in changed})
                self._notify("state_storage", name, self._changes(block, changed))

        best = self._node.listeners.best
        name = self._add(lambda: best.discard(heard))
        best.add(heard)
        current = self._changes(self._node.best, wanted)
        self.after.append(lambda: self._notify("state_storage", name, current))
        return name

    def _changes(self, block: Block, wanted: Iterable[bytes]) -> Any:
        changes = [[_hex(key), _hex_or_none(block.get(key))] for key in wanted]
        return {"block": _hex(block.hash), "changes": changes}

    # --- author -------------------------------------------------------------------------------------------------------

    def rpc_author_submitExtrinsic(self, raw: str) -> Any:
        return self._node.submit(_bytes(raw))

    def rpc_author_submitAndWatchExtrinsic(self, raw: str) -> Any:
        early: list[Status] | None = []  # statuses before the answer wait for it
        name = ""

        def heard(status: Status) -> None:
            if early is not None:
                early.append(status)
            elif name in self._subscriptions:
                self._notify("author_extrinsicUpdate", name, status)

        def begin() -> None:
            nonlocal early
            statuses, early = early or [], None
            for status in statuses:
                heard(status)

        self._node.submit(_bytes(raw), heard)
        name = self._add(lambda: None)
        self.after.append(begin)
        return name

    def rpc_author_pendingExtrinsics(self) -> Any:
        return [_hex(pooled.signed.raw) for pooled in self._node.pool]

    # --- development, under the names of the other local chain (spec tfchain, appendix A) -----------------------------

    def rpc_dev_newBlock(self, options: dict[str, Any] | None = None) -> Any:
        return _hex(self._node.produce(int((options or {}).get("count", 1))).hash)

    def rpc_dev_setStorage(self, changes: list[list[str | None]]) -> Any:
        for key, value in changes:
            self._node.write_state(_bytes(key or ""), None if value is None else _bytes(value))
        return _hex(self._node.best.hash)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _find(self, at: str | None) -> Block | None:
        return self._node.best if at is None else self._node.ledger.blocks.get(_bytes(at))

    def _state(self, at: str | None) -> Block:
        block = self._find(at)
        if block is None:
            raise Refused(-32000, f"Client error: UnknownBlock: Header was not found in the database: {at}")
        if not self._node.keeps_state_of(block):
            raise Refused(4003, f"Client error: UnknownBlock: State already discarded for {at}")
        return block

    def _add(self, end: Callable[[], None]) -> str:
        name = f"subscription{next(self._ids)}"
        self._subscriptions[name] = end
        return name

    def _unsubscribe(self, name: str) -> Any:
        end = self._subscriptions.pop(name, None)
        if end is not None:
            end()
        return end is not None


def _bytes(text: str) -> bytes:
    if not text.startswith("0x"):
        raise ValueError(f"no hex digits after 0x: {text[:20]!r}")
    return bytes.fromhex(text[2:])


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def _hex_or_none(raw: bytes | None) -> str | None:
    return None if raw is None else _hex(raw)
