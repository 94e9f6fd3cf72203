"""The library's object, with decoded metadata remembered between connections.

Decoding takes more than a second of computing, and each connection would do it again. The same bytes always mean the
same, so they are the key. Loaded only when a node is dialled: this module imports the library.
"""

import hashlib
import threading
from typing import Any

from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset
from substrateinterface import SubstrateInterface

from rmb_peer.registry.lru import Lru

REMEMBERED_MAX = 4
"""Runtimes whose metadata is kept: before and after an upgrade, and some to spare; a few tens of megabytes each."""

_known: Lru[bytes, Any] = Lru(REMEMBERED_MAX)
_lock = threading.Lock()  # held while decoding: two threads that need the same do it once


class RememberingInterface(SubstrateInterface):  # type: ignore[misc, unused-ignore] # without type information
    """`SubstrateInterface`, except that metadata seen before is not decoded again."""

    def get_block_metadata(self, block_hash: str | None = None, decode: bool = True) -> Any:
        """What the library's method of this name returns."""
        answer = super().get_block_metadata(block_hash, decode=False)
        return _decoded(answer["result"]) if decode else answer


def _decoded(text: str) -> Any:
    digest = hashlib.blake2b(text.encode()).digest()
    with _lock:
        found = _known.get(digest)
        if found is None:
            # Metadata looks its own types up in the registry that it was decoded with. That of a connection is filled
            # anew when the runtime changes, so this gets one of its own.
            registry = RuntimeConfigurationObject(implements_scale_info=True)
            registry.update_type_registry(load_type_registry_preset("core"))
            found = registry.create_scale_object("MetadataVersioned", data=ScaleBytes(text))
            found.decode()
            registry.add_portable_registry(found)
            _known.put(digest, found)
        return found
