"""Engines: ways to compute many BLAKE3 compressions at once, behind one small interface."""

from rmb_peer.protocol.bao.engines.base import Bytes, Engine
from rmb_peer.protocol.bao.engines.choosing import (
    ENGINE_NAMES,
    EngineUnavailable,
    best_engine,
    chosen_engine_name,
    engine_named,
)

__all__ = [
    "ENGINE_NAMES",
    "Bytes",
    "Engine",
    "EngineUnavailable",
    "best_engine",
    "chosen_engine_name",
    "engine_named",
]
