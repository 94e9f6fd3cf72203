"""The BLAKE3 kernel as a WebAssembly module: several inputs at a time, one in each lane (spec bao, A2 to A4).

The module has a memory and three functions without parameters; what they work on stands in a command block at address
0. So a call costs the host as little as possible. The host writes inputs at `INPUT`, calls, and reads at `OUTPUT`.

- `many`: hash `count` inputs of `blocks` blocks each; the CVs go to `OUTPUT` plus an offset. Chunks, parents, and a
  short last chunk are all cases of it.
- `reduce`: `count` CVs, a power of two, stand at `OUTPUT`; add those of their parents, and so on up to one, each level
  behind the one before.
- `levels`: both, for chunks that fit into one input.

It refuses to know who runs the module.
"""

from collections.abc import Iterator

from rmb_peer.protocol.bao.engines.constants import (
    BLOCK_BYTES,
    CHUNK_BYTES,
    COLUMNS,
    CV_BYTES,
    DIAGONALS,
    IV,
    PAIR_BYTES,
    PARENT,
    SCHEDULE,
)
from rmb_peer.protocol.bao.engines.wasm_binary import I32, I64, PAGE_BYTES, V128, Function, module

LANES = 4

_LAG = 2
"""Measured: 1 to 3 are alike; 0 and more than 4 are slower."""

COMMAND_FORMAT = "<IIQQIIIII"
"""count, blocks, counter, step of the counter, flags, flags of the first block, flags of the last block, its length,
offset of the output."""

INPUT = 1024
"""Behind the command block."""

INPUT_BYTES_MAX = 512 * CHUNK_BYTES
"""Inputs of one call. Measured: smaller ones cost more calls; twice as much leaves the processor's cache."""

LEVELS_CHUNKS_MAX = 4096
"""Chunks whose CVs `reduce` joins at once; measured: with more of them Python has less to do for each."""

SLACK_BYTES = LANES * CHUNK_BYTES
"""The last lanes may have no input of their own: they read and write what nobody looks at."""

OUTPUT = INPUT + INPUT_BYTES_MAX + SLACK_BYTES
OUTPUT_BYTES = max(CV_BYTES * (INPUT_BYTES_MAX // PAIR_BYTES), 2 * CV_BYTES * LEVELS_CHUNKS_MAX) + SLACK_BYTES
"""Room for the CVs of as many parents as fit into the input, and for all levels of `reduce`."""

MEMORY_PAGES = -(-(OUTPUT + OUTPUT_BYTES) // PAGE_BYTES)

_HALF_TURN = (2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
_EIGHTH_BYTE = (1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12)
"""Rotations by 16 and 8 bits move whole bytes: one shuffle instead of two shifts and a union."""


def _words(*lanes: int) -> list[int]:
    """The byte lanes of a shuffle that picks these 32-bit words of two vectors (0 to 7)."""
    return [4 * word + byte for word in lanes for byte in range(4)]


_LOW_WORDS = _words(0, 4, 1, 5)
_HIGH_WORDS = _words(2, 6, 3, 7)
_LOW_HALVES = _words(0, 1, 4, 5)
_HIGH_HALVES = _words(2, 3, 6, 7)


def build() -> bytes:
    """The bytes of the module."""
    return module([_hash_many(), _many(), _reduce(), _levels()], {"many": 1, "reduce": 2, "levels": 3}, MEMORY_PAGES)


def _transpose(f: Function, vectors: list[int]) -> None:
    """Exchange rows and columns of four vectors in place."""
    a, b, c, d = vectors
    low_ab, low_cd, high_ab, high_cd = (f.local(V128) for _ in range(4))
    for target, first, second, lanes in (
        (low_ab, a, b, _LOW_WORDS),
        (low_cd, c, d, _LOW_WORDS),
        (high_ab, a, b, _HIGH_WORDS),
        (high_cd, c, d, _HIGH_WORDS),
        (a, low_ab, low_cd, _LOW_HALVES),
        (b, low_ab, low_cd, _HIGH_HALVES),
        (c, high_ab, high_cd, _LOW_HALVES),
        (d, high_ab, high_cd, _HIGH_HALVES),
    ):
        f.get(first)
        f.get(second)
        f.shuffle(lanes)
        f.set(target)


class _Rounds:
    """Emits the quarter steps on state `v` and message `m`, lists of locals."""

    def __init__(self, f: Function, v: list[int], m: list[int]) -> None:
        self._f = f
        self._v = v
        self._m = m

    def emit(self) -> None:
        """All seven rounds."""
        for order in SCHEDULE:
            for half, places in enumerate((COLUMNS, DIAGONALS)):
                words = order[8 * half : 8 * half + 8]
                steps = [
                    self._quarter(*places[index], self._m[words[2 * index]], self._m[words[2 * index + 1]])
                    for index in range(4)
                ]
                # The four are independent. One begins `_LAG` steps after the other: so there is always one that
                # need not wait, and few values are under way at once (they have to fit into sixteen registers).
                for now in range(8 + 3 * _LAG):
                    for index in range(4):
                        if 0 <= now - index * _LAG < 8:
                            next(steps[index])

    def _quarter(self, a: int, b: int, c: int, d: int, x: int, y: int) -> Iterator[None]:
        """The quarter step in eight pieces (A2, step 3); each `next` emits one."""
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            self._add(a, b, word)
            yield
            self._xor_rotate(d, a, first)
            yield
            self._add(c, d)
            yield
            self._xor_rotate(b, c, second)
            yield

    def _add(self, target: int, other: int, word: int | None = None) -> None:
        f, v = self._f, self._v
        f.get(v[target])
        if word is not None:
            f.get(word)  # first the word, which is there long before `other`
            f.add_i32x4()
        f.get(v[other])
        f.add_i32x4()
        f.set(v[target])

    def _xor_rotate(self, target: int, other: int, bits: int) -> None:
        f, v = self._f, self._v
        f.get(v[target])
        f.get(v[other])
        f.xor_v128()
        f.tee(v[target])
        if bits in (8, 16):
            f.get(v[target])
            f.shuffle(_HALF_TURN if bits == 16 else _EIGHTH_BYTE)
        else:
            f.i32(bits)
            f.shr_u_i32x4()
            f.get(v[target])
            f.i32(32 - bits)
            f.shl_i32x4()
            f.or_v128()
        f.set(v[target])


def _hash_many() -> Function:
    """CVs of `count` inputs that lie one after the other; see `COMMAND_FORMAT` for the parameters."""
    f = Function([I32, I32, I32, I64, I64, I32, I32, I32, I32, I32])
    source, count, blocks, counter, step, flags, first_flags, last_flags, last_length, target = range(10)
    stride, left, block_flags, block_length = (f.local(I32) for _ in range(4))
    lane_counter = f.local(I64)
    addresses = [f.local(I32) for _ in range(LANES)]
    counters = [f.local(V128) for _ in range(2)]
    h = [f.local(V128) for _ in range(8)]
    v = [f.local(V128) for _ in range(16)]
    m = [f.local(V128) for _ in range(16)]

    def constant(value: int, local: int) -> None:
        f.v128((value,) * LANES)
        f.set(local)

    f.get(blocks)
    f.i32(BLOCK_BYTES)
    f.mul_i32()
    f.set(stride)

    f.begin_loop()  # over as many inputs as there are lanes
    for lane in range(LANES):
        f.get(source)
        f.get(stride)
        f.i32(lane)
        f.mul_i32()
        f.add_i32()
        f.set(addresses[lane])
        f.get(counter)
        f.i64(lane)
        f.get(step)
        f.mul_i64()
        f.add_i64()
        f.set(lane_counter)
        for vector, shift in zip(counters, (0, 32), strict=True):
            if lane:
                f.get(vector)
            f.get(lane_counter)
            f.i64(shift)
            f.shr_u_i64()
            f.wrap_i64()
            f.replace_lane(lane) if lane else f.splat_i32()
            f.set(vector)
    for value, local in zip(IV, h, strict=True):
        constant(value, local)
    f.get(blocks)
    f.set(left)
    f.get(flags)
    f.get(first_flags)
    f.or_i32()
    f.set(block_flags)

    f.begin_loop()  # over blocks
    f.i32(BLOCK_BYTES)
    f.set(block_length)
    f.get(left)
    f.i32(1)
    f.equal_i32()
    f.begin_if()
    f.get(block_flags)
    f.get(last_flags)
    f.or_i32()
    f.set(block_flags)
    f.get(last_length)
    f.set(block_length)
    f.end()
    for quarter in range(4):
        words = m[4 * quarter : 4 * quarter + 4]
        for lane, word in enumerate(words):
            f.get(addresses[lane])
            f.load_v128(16 * quarter)
            f.set(word)
        _transpose(f, words)
    for index in range(8):
        f.get(h[index])
        f.set(v[index])
    for index in range(4):
        constant(IV[index], v[8 + index])
    for index in range(2):
        f.get(counters[index])
        f.set(v[12 + index])
    for scalar, local in ((block_length, v[14]), (block_flags, v[15])):
        f.get(scalar)
        f.splat_i32()
        f.set(local)
    _Rounds(f, v, m).emit()
    for index in range(8):
        f.get(v[index])
        f.get(v[index + 8])
        f.xor_v128()
        f.set(h[index])
    for address in addresses:
        f.get(address)
        f.i32(BLOCK_BYTES)
        f.add_i32()
        f.set(address)
    f.get(flags)
    f.set(block_flags)
    f.get(left)
    f.i32(1)
    f.sub_i32()
    f.tee(left)
    f.repeat_if()
    f.end()

    for half in range(2):
        words = h[4 * half : 4 * half + 4]
        _transpose(f, words)
        for lane, word in enumerate(words):
            f.get(target)
            f.get(word)
            f.store_v128(CV_BYTES * lane + 16 * half)
    f.get(target)
    f.i32(LANES * CV_BYTES)
    f.add_i32()
    f.set(target)
    f.get(source)
    f.get(stride)
    f.i32(LANES)
    f.mul_i32()
    f.add_i32()
    f.set(source)
    f.get(counter)
    f.get(step)
    f.i64(LANES)
    f.mul_i64()
    f.add_i64()
    f.set(counter)
    f.get(count)
    f.i32(LANES)
    f.sub_i32()
    f.tee(count)
    f.i32(0)
    f.greater_s_i32()
    f.repeat_if()
    f.end()
    return f


def _many() -> Function:
    f = Function()
    f.i32(INPUT)
    for offset in (0, 4):
        f.i32(0)
        f.load_i32(offset)
    for offset in (8, 16):
        f.i32(0)
        f.load_i64(offset)
    for offset in (24, 28, 32, 36):
        f.i32(0)
        f.load_i32(offset)
    f.i32(OUTPUT)
    f.i32(0)
    f.load_i32(40)
    f.add_i32()
    f.call(0)
    return f


def _reduce() -> Function:
    f = Function()
    count, source, target = (f.local(I32) for _ in range(3))
    f.i32(0)
    f.load_i32(0)
    f.set(count)
    f.i32(OUTPUT)
    f.set(source)
    f.get(count)
    f.i32(1)
    f.greater_s_i32()
    f.begin_if()
    f.begin_loop()
    f.get(source)
    f.get(count)
    f.i32(CV_BYTES)
    f.mul_i32()
    f.add_i32()
    f.set(target)
    f.get(count)
    f.i32(1)
    f.shr_u_i32()
    f.set(count)
    f.get(source)
    f.get(count)
    f.i32(1)
    f.i64(0)
    f.i64(0)
    for value in (PARENT, 0, 0, BLOCK_BYTES):
        f.i32(value)
    f.get(target)
    f.call(0)
    f.get(target)
    f.set(source)
    f.get(count)
    f.i32(1)
    f.greater_s_i32()
    f.repeat_if()
    f.end()
    f.end()
    return f


def _levels() -> Function:
    f = Function()
    f.call(1)
    f.call(2)
    return f
