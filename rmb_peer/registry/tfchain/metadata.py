"""The library's object, with decoded metadata remembered between connections.

Decoding takes more than a second of computing, and each connection would do it again. The same bytes always mean the
same, so they are the key. Loaded only when a node is dialled: this module imports the library.
"""

import hashlib
import threading
from typing import Any

from substrateinterface import SubstrateInterface

from rmb_peer.registry.lru import Lru

REMEMBERED_MAX = 4
"""Runtimes whose metadata is kept: before and after an upgrade, and some to spare; a few tens of megabytes each."""

_known: Lru[bytes, Any] = Lru(REMEMBERED_MAX)
_lock = threading.Lock()


class RememberingInterface(SubstrateInterface):  # type: ignore[misc, unused-ignore] # without type information
    """`SubstrateInterface`, except that metadata seen before is not decoded again."""

    def get_block_metadata(self, block_hash: str | None = None, decode: bool = True) -> Any:
        """What the library's method of this name returns."""
        answer = super().get_block_metadata(block_hash, decode=False)
        if not decode:
            return answer
        digest = hashlib.blake2b(answer["result"].encode()).digest()
        with _lock:
            found = _known.get(digest)
        if found is None:
            found = self.runtime_config.create_scale_object("MetadataVersioned", data=_scale(answer["result"]))
            found.decode()
            with _lock:
                _known.put(digest, found)
        return found


def _scale(text: str) -> Any:
    from scalecodec.base import ScaleBytes

    return ScaleBytes(text)
