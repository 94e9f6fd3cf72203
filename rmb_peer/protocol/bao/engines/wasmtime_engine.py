"""The engine that runs our WebAssembly module with wasmtime: the default.

Built in a few milliseconds when the engine is made and compiled by wasmtime; nothing is kept on disk. A call releases
the interpreter lock while it computes. It refuses to know BLAKE3: that is in `wasm_kernel`.
"""

import atexit
import struct
from typing import TYPE_CHECKING

from rmb_peer.protocol.bao.engines import wasm_kernel
from rmb_peer.protocol.bao.engines.base import Bytes, levels_offset
from rmb_peer.protocol.bao.engines.constants import (
    BLOCK_BYTES,
    CHUNK_BLOCKS,
    CHUNK_BYTES,
    CHUNK_END,
    CHUNK_START,
    CV_BYTES,
    PAIR_BYTES,
    PARENT,
)
from rmb_peer.protocol.bao.engines.kernel import KernelEngine
from rmb_peer.protocol.bao.engines.wasmtime_calls import caller

if TYPE_CHECKING:
    from wasmtime import Engine as Compiler
    from wasmtime import Module

_COMMAND = struct.Struct(wasm_kernel.COMMAND_FORMAT)
_INPUT = wasm_kernel.INPUT
_OUTPUT = wasm_kernel.OUTPUT
_INPUT_MAX = wasm_kernel.INPUT_BYTES_MAX


class _Instance:
    """One memory with its code: used by one thread at a time."""

    def __init__(self, compiler: "Compiler", module: "Module") -> None:
        from wasmtime import Func, Instance, Memory, Store

        self._store = Store(compiler)
        exports = Instance(self._store, module, []).exports(self._store)
        functions, memory = [exports[name] for name in ("many", "reduce", "levels")], exports["memory"]
        self._many, self._reduce, self._levels = (
            caller(self._store, found) for found in functions if isinstance(found, Func)
        )
        if not isinstance(memory, Memory):
            raise TypeError("the module does not export its memory")
        # The size of the memory is fixed, so its place is, too.
        self._memory = memoryview(memory.get_buffer_ptr(self._store)).cast("B")

    def close(self) -> None:
        """Give back everything; the instance is of no use afterwards."""
        self._memory.release()
        self._store.close()

    def many(self, data: Bytes, count: int, blocks: int, counter: int, step: int, *flags_and_length: int) -> bytes:
        """CVs of `count` inputs of `blocks` blocks each."""
        _COMMAND.pack_into(self._memory, 0, count, blocks, counter, step, *flags_and_length, 0)
        self._memory[_INPUT : _INPUT + len(data)] = data
        self._many()
        return bytes(self._memory[_OUTPUT : _OUTPUT + count * CV_BYTES])

    def levels(self, data: Bytes, first_chunk: int, chunk_log: int) -> bytes:
        """See `Engine.levels`."""
        memory, view = self._memory, memoryview(data)
        chunks = len(view) // CHUNK_BYTES
        function = self._levels if len(view) <= _INPUT_MAX else self._many
        for offset in range(0, len(view), _INPUT_MAX):
            piece = view[offset : offset + _INPUT_MAX]
            index, count = offset // CHUNK_BYTES, len(piece) // CHUNK_BYTES
            _COMMAND.pack_into(
                memory, 0, count, CHUNK_BLOCKS, first_chunk + index, 1, 0, CHUNK_START, CHUNK_END, BLOCK_BYTES,
                index * CV_BYTES,
            )  # fmt: skip
            memory[_INPUT : _INPUT + len(piece)] = piece
            function()
        if function is self._many:
            _COMMAND.pack_into(memory, 0, chunks, 0, 0, 0, 0, 0, 0, 0, 0)
            self._reduce()
        return bytes(memory[_OUTPUT + levels_offset(len(view), chunk_log) : _OUTPUT + (2 * chunks - 1) * CV_BYTES])


class WasmtimeEngine(KernelEngine):
    """SIMD code on every platform that wasmtime has a wheel for, whatever the version of Python."""

    name = "wasmtime"
    levels_chunks_max = wasm_kernel.LEVELS_CHUNKS_MAX

    def __init__(self) -> None:
        from wasmtime import Config, Module
        from wasmtime import Engine as Compiler

        settings = Config()
        settings.cranelift_opt_level = "none"  # its optimiser would undo the order of instructions that we chose
        self._compiler = Compiler(settings)
        self._module = Module(self._compiler, wasm_kernel.build())
        self._all: list[_Instance] = []
        self._idle: list[_Instance] = []  # append and pop are atomic: no lock is needed
        # wasmtime's objects complain when they outlive its modules at the end of the process.
        atexit.register(self._close)

    def _close(self) -> None:
        self._idle.clear()
        for instance in self._all:
            instance.close()
        self._module.close()
        self._compiler.close()

    def _take(self) -> _Instance:
        try:
            return self._idle.pop()
        except IndexError:
            instance = _Instance(self._compiler, self._module)
            self._all.append(instance)
            return instance

    def _many(self, data: Bytes, count: int, blocks: int, counter: int, step: int, *flags_and_length: int) -> bytes:
        instance = self._take()
        result = instance.many(data, count, blocks, counter, step, *flags_and_length)
        self._idle.append(instance)  # not after a failure: its state would be unknown
        return result

    def chunks(self, data: Bytes, first_chunk: int) -> bytes:
        """See `Engine.chunks`."""
        view = memoryview(data)
        results = []
        for offset in range(0, len(view), _INPUT_MAX):
            piece = view[offset : offset + _INPUT_MAX]
            index = first_chunk + offset // CHUNK_BYTES
            count = len(piece) // CHUNK_BYTES
            results.append(self._many(piece, count, CHUNK_BLOCKS, index, 1, 0, CHUNK_START, CHUNK_END, BLOCK_BYTES))
        return b"".join(results)

    def parents(self, pairs: Bytes) -> bytes:
        """See `Engine.parents`."""
        view = memoryview(pairs)
        results = []
        for offset in range(0, len(view), _INPUT_MAX):
            piece = view[offset : offset + _INPUT_MAX]
            results.append(self._many(piece, len(piece) // PAIR_BYTES, 1, 0, 0, PARENT, 0, 0, BLOCK_BYTES))
        return b"".join(results)

    def levels(self, data: Bytes, first_chunk: int, chunk_log: int) -> bytes:
        """See `Engine.levels`."""
        instance = self._take()
        result = instance.levels(data, first_chunk, chunk_log)
        self._idle.append(instance)
        return result
