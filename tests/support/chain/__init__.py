"""A stand-in for a node of tfchain (spec tfchain, appendix B).

A WebSocket JSON-RPC server on loopback with the chain's true metadata, SCALE storage, signature checks, and the chain's
rules for what a twin does. Unmodified `substrate-interface` works against it. `python -m tests.support.chain` runs it
as a process.

Tests that pass on it prove a client's wiring and decoding, not the chain's rules; those are proven on the real runtime.
"""

from tests.support.chain.data import needs_chain_data
from tests.support.chain.faults import Delay, Drop, Fail, Faults, Hold, Ignore, Raw, Result
from tests.support.chain.node import TFT_UNITS
from tests.support.chain.pallet import StoredTwin
from tests.support.chain.server import StandIn, stand_in_node

__all__ = [
    "TFT_UNITS", "Delay", "Drop", "Fail", "Faults", "Hold", "Ignore", "Raw", "Result", "StandIn", "StoredTwin",
    "needs_chain_data", "stand_in_node",
]  # fmt: skip
