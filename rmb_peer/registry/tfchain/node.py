"""One node of the chain: JSON-RPC with typed failures, and the library's object where metadata is needed.

For one thread, except `abort`. This module refuses to know about other nodes and about twins.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rmb_peer.registry.tfchain.errors import NodeFailed, NodeRefused
from rmb_peer.registry.tfchain.wire import Wire

if TYPE_CHECKING:
    from substrateinterface import SubstrateInterface

SS58_PREFIX = 42
"""The chain's properties do not name it (spec tfchain 1)."""

HEX_HASH_CHARS = 2 + 2 * 32


class Node:
    """A connection to one node.

    Attributes:
        url: where it is.
        genesis: hash of the chain's first block, as `0x…`: tells chains apart.
    """

    def __init__(self, url: str, *, open_s_max: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect and ask which chain it is.

        Raises:
            NodeFailed: it cannot be used.
        """
        import_module("rmb_peer.registry.tfchain.metadata")  # takes seconds the first time, which are not the node's
        self.url = url
        self._wire = Wire(url, open_s_max=open_s_max, clock=clock)
        try:
            with library_failures():
                self._interface = _interface(self._wire)
            self._wire.limit(open_s_max)
            self.genesis = self.hash_at(0)
        except BaseException:
            self._wire.close()
            raise

    def limit(self, seconds: float | None) -> None:
        """From now on all requests together may take this long; see `Wire.limit`."""
        self._wire.limit(seconds)

    def request(self, method: str, *params: Any) -> Any:
        """Ask one question.

        Returns:
            what the node says under `result`.

        Raises:
            NodeRefused: the node answered with an error.
            NodeFailed: no usable answer.
        """
        with library_failures():
            answer = self._interface.rpc_request(method, list(params))
            return answer.get("result")

    def subscribe(self, method: str, params: list[Any], on_update: Callable[[Any, str], Any]) -> Any:
        """Subscribe, and hand each notification to a function until that returns something.

        Args:
            method: such as `chain_subscribeNewHeads`.
            params: its parameters.
            on_update: gets `params.result` of the notification and the subscription's id. It may ask `request`
                meanwhile. What it returns, unless `None`, ends the waiting; unsubscribing is its own business.

        Returns:
            what `on_update` returned.

        Raises:
            NodeRefused: the node answered with an error.
            NodeFailed: no usable answer, or the time is up (see `limit`).
        """

        def handle(message: Any, _number: int, subscription: str) -> Any:
            return on_update(message["params"]["result"], subscription)

        with library_failures():
            return self._interface.rpc_request(method, params, result_handler=handle)

    def hash_at(self, number: int) -> str:
        """The hash of the block with this number.

        Raises:
            NodeFailed: no usable answer, or there is no such block.
        """
        found = self.request("chain_getBlockHash", number)
        if not isinstance(found, str) or len(found) != HEX_HASH_CHARS:
            raise NodeFailed(f"it knows no block {number}")
        return found

    def spec_version(self) -> int:
        """Version of the runtime at the best block. Numbers of pallets may differ when it does (spec tfchain 1).

        Raises:
            NodeRefused, NodeFailed: see `request`.
        """
        answer = self.request("state_getRuntimeVersion")
        version = answer.get("specVersion") if isinstance(answer, dict) else None
        if type(version) is not int:
            raise NodeFailed("it does not say the version of its runtime")
        return version

    def interface(self, block_hash: str | None = None) -> "SubstrateInterface":
        """The library's object, with the metadata of the runtime at a block (the best one by default) loaded.

        Raises:
            NodeRefused, NodeFailed: see `request`; also when the metadata cannot be read.
        """
        with library_failures():
            self._interface.init_runtime(block_hash=block_hash)
        return self._interface

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    def abort(self) -> None:
        """Cut the connection from any thread."""
        self._wire.abort()


def _interface(wire: Wire) -> "SubstrateInterface":
    from rmb_peer.registry.tfchain.metadata import RememberingInterface

    # Without discovery: it would choose legacy types by the name that the chain gives itself.
    return RememberingInterface(websocket=wire, ss58_format=SS58_PREFIX, auto_discover=False, auto_reconnect=False)


@contextlib.contextmanager
def library_failures() -> Iterator[None]:
    """Turn whatever the library raises about a node's answer into our two errors.

    The library checks nothing of what arrives, so a malformed answer shows as almost any exception: from a missing key
    over a failed decoding to a missing type.
    """
    from substrateinterface.exceptions import SubstrateRequestException

    try:
        yield
    except (NodeFailed, NodeRefused):
        raise
    except SubstrateRequestException as error:
        raise _refusal(error.args[0] if error.args else None) from None
    except Exception as error:
        raise NodeFailed(f"it sent an answer that cannot be used ({type(error).__name__})") from error


def _refusal(said: Any) -> NodeRefused:
    if not isinstance(said, dict):
        return NodeRefused(0, str(said)[:500])
    code = said.get("code")
    texts = [str(said[name]) for name in ("message", "data") if said.get(name)]
    return NodeRefused(code if type(code) is int else 0, ": ".join(texts)[:500])
