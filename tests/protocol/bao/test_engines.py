"""Engines: right by the vectors, and equal to each other on everything else."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wasmtime import Engine as Compiler
from wasmtime import Func, Instance, Module, Store, Trap, _ffi

from rmb_peer.protocol.bao.engines import ENGINE_NAMES, Engine, EngineUnavailable, choosing, engine_named
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES
from rmb_peer.protocol.bao.engines.llvm_kernel import Lanes
from rmb_peer.protocol.bao.engines.llvmlite_engine import LlvmliteEngine, lanes_of
from rmb_peer.protocol.bao.engines.pure import PureEngine
from rmb_peer.protocol.bao.engines.wasm_binary import I32, Function, module
from rmb_peer.protocol.bao.engines.wasmtime_calls import caller
from rmb_peer.protocol.bao.engines.wasmtime_engine import WasmtimeEngine
from rmb_peer.protocol.bao.hashing import subtree_cv
from tests.support.bao import EXTRA, FAST_ENGINES, engine_of, pattern

PURE = PureEngine()


@pytest.fixture(params=ENGINE_NAMES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_of(request.param)


@pytest.mark.parametrize("vector", EXTRA["chunk_cvs"], ids=lambda v: f"{v['input_len']}@{v['chunk_index']}")
def test_chunks(engine: Engine, vector: dict[str, int | str]) -> None:
    """CVs of chunks of every length at indices up to 2^54 - 1."""
    size, index = int(vector["input_len"]), int(vector["chunk_index"])
    assert engine.chunk(pattern(size), index, root=False).hex() == vector["cv"]
    if size == CHUNK_BYTES:
        assert engine.chunks(pattern(size), index).hex() == vector["cv"]


@pytest.mark.parametrize("vector", EXTRA["subtree_cvs"], ids=lambda v: f"{v['input_len']}@{v['first_chunk_index']}")
def test_subtrees(engine: Engine, vector: dict[str, int | str]) -> None:
    """CVs of subtrees, short last chunks included."""
    content = pattern(int(vector["input_len"]))
    assert subtree_cv(engine, content, int(vector["first_chunk_index"]), root=False).hex() == vector["cv"]


def test_parents(engine: Engine) -> None:
    """The CV of a parent, as the root and not."""
    vector = EXTRA["parent_cvs"][0]
    pair = bytes.fromhex(vector["left"] + vector["right"])
    assert engine.parent(pair, root=False).hex() == vector["cv_non_root"]
    assert engine.parent(pair, root=True).hex() == vector["cv_root"]
    assert engine.parents(pair * 19).hex() == vector["cv_non_root"] * 19
    assert engine.parents(b"") == b""
    assert engine.chunks(b"", 0) == b""


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 127, 128, 1023, 1024])
def test_a_single_chunk_is_the_hash(engine: Engine, size: int) -> None:
    """With the root flag a chunk gives what the independent implementation gives."""
    assert engine.chunk(pattern(size), 0, root=True) == blake3.blake3(pattern(size)).digest()


@pytest.mark.parametrize("name", FAST_ENGINES)
@settings(max_examples=25)
@given(
    seed=st.binary(min_size=1, max_size=40),
    chunks=st.integers(0, 40),
    short=st.integers(0, CHUNK_BYTES),
    first=st.integers(0, 2**54 - 64) | st.integers(2**32 - 40, 2**32),
)
def test_engines_agree_with_the_reference(name: str, seed: bytes, chunks: int, short: int, first: int) -> None:
    """Any number of chunks at any index, any short chunk, and their parents: the same in every engine."""
    engine = engine_of(name)
    data = (seed * (chunks * CHUNK_BYTES // len(seed) + 1))[: chunks * CHUNK_BYTES]
    cvs = engine.chunks(memoryview(data), first)
    assert cvs == PURE.chunks(data, first)
    assert engine.parents(bytearray(cvs[: chunks // 2 * 64])) == PURE.parents(cvs[: chunks // 2 * 64])
    assert engine.chunk(data[:short], first, root=False) == PURE.chunk(data[:short], first, root=False)


@cache
def reference_levels(log: int, first: int) -> bytes:
    return PURE.levels(pattern(CHUNK_BYTES << log), first, 0)


@pytest.mark.parametrize("name", FAST_ENGINES)
@pytest.mark.parametrize("log", range(6))
def test_levels_agree_with_the_reference(name: str, log: int) -> None:
    """All levels of a complete subtree, whatever part of them is wanted."""
    data = pattern(CHUNK_BYTES << log)
    for chunk_log in range(log + 1):
        for first in (0, 2**32 - (1 << log), 2**54 - (1 << log)):
            assert (
                engine_of(name).levels(data, first, chunk_log)
                == reference_levels(log, first)[-(2 << log - chunk_log) * 32 + 32 :]
            )


@pytest.mark.parametrize("name", FAST_ENGINES)
def test_more_than_one_batch(name: str) -> None:
    """Input larger than an engine takes at once is cut by the engine itself, and the largest batch fits."""
    engine = engine_of(name)
    data = pattern((engine.levels_chunks_max + 3) * CHUNK_BYTES)
    cvs = engine.chunks(data, 5)
    assert cvs[-32:] == PURE.chunk(data[-CHUNK_BYTES:], 5 + engine.levels_chunks_max + 2, root=False)
    whole = data[: engine.levels_chunks_max * CHUNK_BYTES]
    levels = engine.levels(whole, 0, 0)
    assert engine.parent(levels[-96:-32], root=True) == blake3.blake3(whole).digest()
    assert len(engine.parents(bytes(2**20 + 64))) == 2**19 + 32


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_every_width_of_vector_code_is_right(lanes: Lanes) -> None:
    """The code for other machines is checked as far as this one can run it."""
    choosing.check_engine(LlvmliteEngine(lanes))


def test_the_ordinary_call_does_when_there_is_no_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of wasmtime whose insides differ works all the same."""
    monkeypatch.delattr(_ffi, "wasmtime_func_call_unchecked")
    choosing.check_engine(WasmtimeEngine())


def test_a_call_that_fails_says_why() -> None:
    """A trap inside of the module, which only a mistake of ours could cause, is raised and not lost."""
    broken = Function()
    broken.i32(2**31 - 1)
    broken.load_i64(0)
    broken.wrap_i64()
    broken.set(broken.local(I32))
    compiler = Compiler()
    store = Store(compiler)
    exports = Instance(store, Module(compiler, module([broken], {"f": 0}, 1)), []).exports(store)
    function = exports["f"]
    assert isinstance(function, Func)
    with pytest.raises(Trap, match="out of bounds"):
        caller(store, function)()


def test_the_width_fits_the_machine() -> None:
    """Vectors as wide as the machine has them."""
    assert lanes_of({"avx512f": True, "avx512vl": True, "avx2": True}) == 16
    assert lanes_of({"avx512f": True, "avx512vl": False, "avx2": True}) == 8
    assert lanes_of({"neon": True}) == 4


@pytest.mark.parametrize("name", FAST_ENGINES)
def test_threads_share_an_engine(name: str) -> None:
    """Calls from several threads at once do not disturb each other."""
    engine = engine_of(name)
    inputs = [pattern(64 * CHUNK_BYTES + shift)[shift:] for shift in range(8)]
    expected = [engine.levels(data, 64 * index, 4) for index, data in enumerate(inputs)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            again = pool.map(lambda pair: engine.levels(pair[1], 64 * pair[0], 4), enumerate(inputs))
            assert list(again) == expected


class _Wrong(PureEngine):
    """An engine that forgets the upper half of the counter."""

    name = "wrong"

    def chunk(self, data: bytes, index: int, root: bool) -> bytes:  # type: ignore[override]
        return super().chunk(data, index % 2**32, root)


def _missing() -> Engine:
    raise ImportError("No module named 'x'")


def test_a_wrong_engine_is_not_trusted() -> None:
    """The check before first use finds a wrong value."""
    with pytest.raises(EngineUnavailable, match="engine wrong computes wrong values"):
        choosing.check_engine(_Wrong())


def test_the_best_engine_that_works_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """llvmlite, then wasmtime, then plain Python; what is missing or wrong is passed over; nothing before first use."""
    monkeypatch.setattr(choosing, "_made", {})
    for makers, expected in (
        ({"llvmlite": PureEngine, "wasmtime": _missing, "pure": PureEngine}, "pure"),
        ({"llvmlite": _missing, "wasmtime": choosing._wasmtime, "pure": PureEngine}, "wasmtime"),
        ({"llvmlite": _Wrong, "wasmtime": _missing, "pure": PureEngine}, "pure"),
        (choosing._MAKERS, "llvmlite"),
    ):
        monkeypatch.setattr(choosing, "_MAKERS", makers)
        monkeypatch.setattr(choosing, "_made", {})
        monkeypatch.setattr(choosing, "_chosen", [])
        assert choosing.chosen_engine_name() is None
        assert choosing.best_engine().name == expected
        assert choosing.chosen_engine_name() == expected
        assert choosing.best_engine() is choosing.best_engine()


def test_an_engine_that_cannot_be_used_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown, or not installed."""
    with pytest.raises(EngineUnavailable, match="unknown BLAKE3 engine 'x': choose one of llvmlite, wasmtime, pure"):
        engine_named("x")
    monkeypatch.setattr(choosing, "_made", {})
    monkeypatch.setattr(choosing, "_MAKERS", {"llvmlite": _missing})
    with pytest.raises(EngineUnavailable, match=r"install rmb-peer\[bao-fast\]"):
        engine_named("llvmlite")
