"""`substrate-interface` with one change: metadata that was decoded once in this process is not decoded again.

Decoding takes more than a second of computing, and the library does it anew for each connection. Equal bytes give equal
metadata, whatever chain they come from, so the memory goes by the bytes. Importing this module imports the library.
"""

import hashlib
import threading
from typing import Any

from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset
from substrateinterface import SubstrateInterface

from rmb_peer.registry.lru import Lru

METADATA_MAX = 3
"""Decoded metadata that is remembered: the runtime before an upgrade, the one after, and one to spare. A guess."""

_decoded: Lru[bytes, Any] = Lru(METADATA_MAX)
_decoding = threading.Lock()  # two threads that need the same metadata decode it once


class Interface(SubstrateInterface):  # type: ignore[misc] # the library has no types
    """The library's object for one connection."""

    def get_block_metadata(self, block_hash: str | None = None, decode: bool = True) -> Any:
        """The metadata of the runtime at a block; the library's method of the same name."""
        answer = super().get_block_metadata(block_hash, decode=False)
        raw = answer.get("result")
        return _decode(bytes.fromhex(raw.removeprefix("0x"))) if raw and decode else answer


def _decode(raw: bytes) -> Any:
    name = hashlib.blake2b(raw, digest_size=32).digest()
    with _decoding:
        known = _decoded.get(name)
        if known is None:
            config = RuntimeConfigurationObject(implements_scale_info=True)
            config.update_type_registry(load_type_registry_preset("core"))
            known = config.create_scale_object("MetadataVersioned", data=ScaleBytes(raw))
            known.decode()
            config.add_portable_registry(known)  # it looks its own types up there
            _decoded.put(name, known)
    return known
