"""Verified streaming with BLAKE3: trees, outboards, encodings, slices, checks (spec bao; see DESIGN.md here).

Pure: bytes in, values out. The root of every tree is the ordinary BLAKE3 hash of the content.
"""

from rmb_peer.protocol.bao.check import BadRange, Check, Finding, Report, Subtree, check_store
from rmb_peer.protocol.bao.decoder import Decoder, Proven
from rmb_peer.protocol.bao.encoder import Encoded, OutboardEncoder, encode_outboard
from rmb_peer.protocol.bao.engines import best_engine, chosen_engine_name, engine_named
from rmb_peer.protocol.bao.errors import (
    BadRangeSpec,
    Damage,
    HashMismatch,
    Truncated,
    VerificationFailed,
    WrongArgument,
)
from rmb_peer.protocol.bao.extract import encode_combined, extract
from rmb_peer.protocol.bao.layout import PairBlock, converted
from rmb_peer.protocol.bao.range_spec import Request, decode_range_spec, encode_range_spec
from rmb_peer.protocol.bao.reader import VerifiedReader
from rmb_peer.protocol.bao.repair import Plan, Planner, proven_blocks
from rmb_peer.protocol.bao.selection import EVERYTHING, NOTHING, ChunkRanges
from rmb_peer.protocol.bao.store import CombinedStore, OutboardStore, Store, bytes_reader, store_with_header

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "BadRange",
    "BadRangeSpec",
    "Check",
    "ChunkRanges",
    "CombinedStore",
    "Damage",
    "Decoder",
    "Encoded",
    "Finding",
    "HashMismatch",
    "OutboardEncoder",
    "OutboardStore",
    "PairBlock",
    "Plan",
    "Planner",
    "Proven",
    "Report",
    "Request",
    "Store",
    "Subtree",
    "Truncated",
    "VerificationFailed",
    "VerifiedReader",
    "WrongArgument",
    "best_engine",
    "bytes_reader",
    "check_store",
    "chosen_engine_name",
    "converted",
    "decode_range_spec",
    "encode_combined",
    "encode_outboard",
    "encode_range_spec",
    "engine_named",
    "extract",
    "proven_blocks",
    "store_with_header",
]
