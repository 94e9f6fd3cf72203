"""Which engine is used: the fastest one that is installed and computes right.

An engine is checked against known values before it is trusted (they come from another implementation; spec bao,
part E). One that cannot be made, or computes wrong, is passed over. It refuses to know what is hashed.
"""

from collections.abc import Callable

from rmb_peer.protocol.bao.engines.base import Engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES
from rmb_peer.protocol.bao.engines.pure import PureEngine
from rmb_peer.protocol.errors import LocalError

_CHUNKS = (
    (0, 0, "b4686b3c8d953f4d185d51bc9cd7bce6d9782d7659f8c06068d4c3ffa6e56841"),
    (65, 2**32, "0df9d8ae27e1a2516abee27dd019df735e1c1b81ed6ac0cd82d41d0378470200"),
    (1024, 2**54 - 1, "fe12dd509447134b6b7ec8de655a609c55bc7b7cb316fba39da93cd037f02367"),
)
"""Length, index and CV of chunks that are not the root."""

_SUBTREES = (
    (2**32 - 16, "4dd314d8ee247fe99dc9d7885c6e77464e6454baff0e3a2ebd1e93c315bc4c9a"),
    (2**32, "a0eb8ea636707a6f0e5f10b012648374065e5c15341f5d891144e72bdcb9dc7f"),
)
"""First index and CV of subtrees of sixteen chunks: on both sides of the place where 32 bits end."""

_EMPTY_ROOT = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"

_PAIR = bytes.fromhex(
    "746d4c2b7af9390ad331abc06b036ef9c90fe0d2f7e52d475ebb751a83da72ae"
    "985f50016abff396306a4722442b975f015da4f317349eb6b9f78425a6d990ce"
)
_PAIR_CV = "aee57030428d909270ee97de8932a754227e9a4251354a34775259fb83c3a62a"
_PAIR_ROOT = "0b1e4dd0c5da9fbf9e1303a3c9b38d71cdf3a335062ae2a472a7e17d6b791870"


class EngineUnavailable(LocalError):
    """This engine cannot be used here; the text says why and what to do."""


def _wasmtime() -> Engine:
    from rmb_peer.protocol.bao.engines.wasmtime_engine import WasmtimeEngine

    return WasmtimeEngine()


def _llvmlite() -> Engine:
    from rmb_peer.protocol.bao.engines.llvmlite_engine import LlvmliteEngine

    return LlvmliteEngine()


_MAKERS: dict[str, Callable[[], Engine]] = {"llvmlite": _llvmlite, "wasmtime": _wasmtime, "pure": PureEngine}
"""The fastest first."""

ENGINE_NAMES = tuple(_MAKERS)

_HINTS = {"llvmlite": "install rmb-peer[bao-fast]", "wasmtime": "install wasmtime"}

_made: dict[str, Engine] = {}
_chosen: list[Engine] = []


def check_engine(engine: Engine) -> None:
    """Compare an engine with known values.

    Raises:
        EngineUnavailable: it computes something else.
    """
    content = bytes((7 * i + 13 * (i >> 8) + 5) % 256 for i in range(16 * CHUNK_BYTES))
    right = (
        engine.chunk(b"", 0, root=True).hex() == _EMPTY_ROOT
        and all(engine.chunk(content[:size], index, root=False).hex() == cv for size, index, cv in _CHUNKS)
        and all(engine.levels(content, first, 4).hex() == cv for first, cv in _SUBTREES)
        and all(
            engine.chunks(content[: 3 * CHUNK_BYTES], first)[32:64]
            == engine.chunk(content[CHUNK_BYTES : 2 * CHUNK_BYTES], first + 1, root=False)
            for first in (0, 2**32 - 2)
        )
        and engine.parents(_PAIR * 17).hex() == _PAIR_CV * 17
        and engine.parent(_PAIR, root=False).hex() == _PAIR_CV
        and engine.parent(_PAIR, root=True).hex() == _PAIR_ROOT
    )
    if not right:
        raise EngineUnavailable(f"the BLAKE3 engine {engine.name} computes wrong values here; choose another one")


def engine_named(name: str) -> Engine:
    """The engine of this name, made and checked at most once.

    Raises:
        EngineUnavailable: there is no such engine, it is not installed, or it does not work here.
    """
    if name not in _MAKERS:
        raise EngineUnavailable(f"unknown BLAKE3 engine '{name}': choose one of {', '.join(ENGINE_NAMES)}")
    if name not in _made:
        try:
            engine = _MAKERS[name]()
        except (ImportError, OSError, RuntimeError, TypeError) as error:  # not installed, or not for this machine
            hint = _HINTS.get(name, "choose another one")
            raise EngineUnavailable(f"the BLAKE3 engine {name} cannot be used ({error}): {hint}") from error
        check_engine(engine)
        _made[name] = engine
    return _made[name]


def best_engine() -> Engine:
    """The fastest engine that works here; chosen when it is asked for the first time.

    Raises:
        EngineUnavailable: not even plain Python computes right.
    """
    if _chosen:
        return _chosen[0]
    for name in ENGINE_NAMES[:-1]:
        try:
            engine = engine_named(name)
        except EngineUnavailable:
            continue  # the next one is slower, and right
        _chosen[:] = [engine]
        return engine
    _chosen[:] = [engine_named(ENGINE_NAMES[-1])]
    return _chosen[0]


def chosen_engine_name() -> str | None:
    """What `best_engine` has chosen, for a status report; `None` as long as nothing was hashed."""
    return _chosen[0].name if _chosen else None
