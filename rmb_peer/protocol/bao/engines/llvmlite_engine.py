"""The engine that compiles LLVM IR for exactly this machine with llvmlite: an optional extra, the fastest.

It reads the caller's bytes where they lie, and a call releases the interpreter lock while it computes. It refuses to
know BLAKE3: that is in `llvm_kernel`.
"""

import ctypes
from typing import TYPE_CHECKING

from rmb_peer.protocol.bao.engines import llvm_kernel
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

if TYPE_CHECKING:
    from collections.abc import Mapping

_POINTER, _U64, _U32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
_MANY = ctypes.CFUNCTYPE(None, _POINTER, _U64, _U64, _U64, _U64, _U32, _U32, _U32, _U32, _POINTER)
_LEVELS = ctypes.CFUNCTYPE(None, _POINTER, _U64, _U64, _POINTER)


class _Buffer(ctypes.Structure):
    """`Py_buffer`; part of the stable interface since Python 3.11."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("owner", ctypes.py_object),
        ("length", ctypes.c_ssize_t),
        ("item_bytes", ctypes.c_ssize_t),
        ("read_only", ctypes.c_int),
        ("dimensions", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int)
_get_buffer.restype = ctypes.c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_Buffer),)
_release_buffer.restype = None
_SIMPLE = 0  # PyBUF_SIMPLE: one-dimensional, contiguous, read only is enough


def lanes_of(features: "Mapping[str, bool]") -> llvm_kernel.Lanes:
    """How many 32-bit lanes the widest vectors of a machine have."""
    if features.get("avx512f") and features.get("avx512vl"):
        return 16
    return 8 if features.get("avx2") else 4  # SSE2 and NEON: 4


class LlvmliteEngine(KernelEngine):
    """Vector code of the full width of the machine."""

    name = "llvmlite"
    levels_chunks_max = 4096

    def __init__(self, lanes: llvm_kernel.Lanes | None = None) -> None:
        from llvmlite import binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        self.lanes = lanes or lanes_of(features)
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
        )
        module = llvm.parse_assembly(llvm_kernel.build(self.lanes))
        module.verify()
        # Kept alive: the functions below are its memory.
        self._code = llvm.create_mcjit_compiler(module, machine)
        self._code.finalize_object()
        self._many_at = _MANY(self._code.get_function_address("many"))
        self._levels_at = _LEVELS(self._code.get_function_address("levels"))

    def _many(self, data: Bytes, count: int, blocks: int, counter: int, step: int, *flags_and_length: int) -> bytes:
        out = bytearray((count + self.lanes) * CV_BYTES)
        if count:
            source, target = _Buffer(), (ctypes.c_char * len(out)).from_buffer(out)
            _get_buffer(data, source, _SIMPLE)
            try:
                self._many_at(source.address, count, blocks, counter, step, *flags_and_length, ctypes.addressof(target))
            finally:
                _release_buffer(source)
        return bytes(memoryview(out)[: count * CV_BYTES])

    def chunks(self, data: Bytes, first_chunk: int) -> bytes:
        """See `Engine.chunks`."""
        count = len(data) // CHUNK_BYTES
        return self._many(data, count, CHUNK_BLOCKS, first_chunk, 1, 0, CHUNK_START, CHUNK_END, BLOCK_BYTES)

    def parents(self, pairs: Bytes) -> bytes:
        """See `Engine.parents`."""
        return self._many(pairs, len(pairs) // PAIR_BYTES, 1, 0, 0, PARENT, 0, 0, BLOCK_BYTES)

    def levels(self, data: Bytes, first_chunk: int, chunk_log: int) -> bytes:
        """See `Engine.levels`."""
        chunks = len(data) // CHUNK_BYTES
        out = bytearray((2 * chunks + self.lanes) * CV_BYTES)
        source, target = _Buffer(), (ctypes.c_char * len(out)).from_buffer(out)
        _get_buffer(data, source, _SIMPLE)
        try:
            self._levels_at(source.address, chunks, first_chunk, ctypes.addressof(target))
        finally:
            _release_buffer(source)
        return bytes(memoryview(out)[levels_offset(len(data), chunk_log) : (2 * chunks - 1) * CV_BYTES])
