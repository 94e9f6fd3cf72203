"""The BLAKE3 kernel as LLVM IR: as many inputs at a time as a vector of the machine has 32-bit lanes (spec bao, A2-A4).

The text has two functions, with the meaning that `wasm_kernel` documents:

    void many(ptr in, i64 count, i64 blocks, i64 counter, i64 step, i32 flags, i32 first_flags, i32 last_flags,
              i32 last_length, ptr out)
    void levels(ptr in, i64 count, i64 counter, ptr out)

Nothing is read beyond the inputs: lanes without an input repeat the last one. Up to `lanes - 1` CVs too many are
written. It refuses to know who compiles the text, and for which machine.
"""

from collections.abc import Sequence
from typing import Literal

from rmb_peer.protocol.bao.engines.constants import (
    BLOCK_BYTES,
    CHUNK_BLOCKS,
    CHUNK_END,
    CHUNK_START,
    COLUMNS,
    CV_BYTES,
    DIAGONALS,
    IV,
    PARENT,
    SCHEDULE,
)

Lanes = Literal[4, 8, 16]


def build(lanes: Lanes) -> str:
    """The text of the module for vectors of so many lanes."""
    bits = 32 * lanes
    return "\n".join(
        (
            f"declare <{lanes} x i32> @llvm.fshr.v{lanes}i32(<{lanes} x i32>, <{lanes} x i32>, <{lanes} x i32>)",
            "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)",
            _Many(lanes).text(),
            _LEVELS,
            # Some machines prefer narrower vectors for fear of a lower clock; a long run of them is worth it.
            f'attributes #0 = {{ nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}" }}',
        )
    )


class _Many:
    """Writes the text of `many`, line by line, in static single assignment."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._vector = f"<{lanes} x i32>"
        self._lines: list[str] = []
        self._names = 0

    def _line(self, text: str) -> None:
        self._lines.append(text)

    def _let(self, expression: str) -> str:
        self._names += 1
        name = f"%t{self._names}"
        self._line(f"{name} = {expression}")
        return name

    def _splat(self, value: int) -> str:
        return f"<{', '.join([f'i32 {value}'] * self._lanes)}>"

    def _broadcast(self, scalar: str) -> str:
        one = self._let(f"insertelement {self._vector} poison, i32 {scalar}, i32 0")
        return self._shuffle(one, one, [0] * self._lanes)

    def _shuffle(self, first: str, second: str, lanes: Sequence[int]) -> str:
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        return self._let(
            f"shufflevector {self._vector} {first}, {self._vector} {second}, <{len(lanes)} x i32> <{mask}>"
        )

    def _transposed(self, rows: list[str]) -> list[str]:
        """Rows and columns exchanged: halves, quarters, … of neighbouring rows change places."""
        lanes = self._lanes
        distance = lanes // 2
        while distance:
            rows = rows.copy()
            for upper in range(lanes):
                if upper & distance:
                    continue
                lower = upper + distance
                first = [c if not c & distance else lanes + c - distance for c in range(lanes)]
                second = [c + distance if not c & distance else lanes + c for c in range(lanes)]
                a, b = rows[upper], rows[lower]
                rows[upper], rows[lower] = self._shuffle(a, b, first), self._shuffle(a, b, second)
            distance //= 2
        return rows

    def _add(self, a: str, b: str) -> str:
        return self._let(f"add {self._vector} {a}, {b}")

    def _xor(self, a: str, b: str) -> str:
        return self._let(f"xor {self._vector} {a}, {b}")

    def _rotated(self, a: str, bits: int) -> str:
        vector = self._vector
        function = f"@llvm.fshr.v{self._lanes}i32"
        return self._let(f"call {vector} {function}({vector} {a}, {vector} {a}, {vector} {self._splat(bits)})")

    def _compressed(self, h: list[str], m: list[str], tail: list[str]) -> list[str]:
        """The compression function in every lane (A2)."""
        v = [*h, *(self._splat(value) for value in IV[:4]), *tail]
        for order in SCHEDULE:
            for half, places in enumerate((COLUMNS, DIAGONALS)):
                words = order[8 * half : 8 * half + 8]
                for message, first, second in ((0, 16, 12), (1, 8, 7)):
                    for index, (a, b, _, _) in enumerate(places):
                        v[a] = self._add(self._add(v[a], m[words[2 * index + message]]), v[b])
                    for a, _, _, d in places:
                        v[d] = self._rotated(self._xor(v[d], v[a]), first)
                    for _, _, c, d in places:
                        v[c] = self._add(v[c], v[d])
                    for _, b, c, _ in places:
                        v[b] = self._rotated(self._xor(v[b], v[c]), second)
        return [self._xor(v[index], v[index + 8]) for index in range(8)]

    def _message(self) -> list[str]:
        """The sixteen words of a block of every lane, as sixteen vectors."""
        lanes = self._lanes
        words = []
        for part in range(16 // lanes):
            rows = []
            for lane in range(lanes):
                at = self._let(f"getelementptr i8, ptr %lane{lane}, i64 %offset")
                if part == 0:
                    # The machine does not follow sixteen streams by itself. What the lane reads one turn later is asked
                    # for now; measured on content that is in no cache: 1.7 times as fast, and better than 256 bytes.
                    ahead = self._let(f"getelementptr i8, ptr {at}, i64 %turn")
                    self._line(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 3, i32 1)")
                part_at = self._let(f"getelementptr i8, ptr {at}, i64 {4 * lanes * part}")
                rows.append(self._let(f"load {self._vector}, ptr {part_at}, align 1"))
            words += self._transposed(rows)
        return words

    def _counters(self) -> tuple[str, str]:
        """Low and high half of the counter of every lane."""
        lanes = self._lanes
        wide = f"<{lanes} x i64>"
        zeros = f"<{lanes} x i32> zeroinitializer"
        spread = []
        for scalar in ("%at_counter", "%step"):
            one = self._let(f"insertelement {wide} poison, i64 {scalar}, i32 0")
            spread.append(self._let(f"shufflevector {wide} {one}, {wide} poison, {zeros}"))
        numbers = ", ".join(f"i64 {lane}" for lane in range(lanes))
        steps = self._let(f"mul {wide} {spread[1]}, <{numbers}>")
        total = self._let(f"add {wide} {spread[0]}, {steps}")
        shift = ", ".join(["i64 32"] * lanes)
        upper = self._let(f"lshr {wide} {total}, <{shift}>")
        low, high = (self._let(f"trunc {wide} {value} to {self._vector}") for value in (total, upper))
        return low, high

    def text(self) -> str:
        """The whole function."""
        lanes, vector = self._lanes, self._vector
        self._line(
            "define void @many(ptr %in, i64 %count, i64 %blocks, i64 %counter, i64 %step, i32 %flags, "
            "i32 %first_flags, i32 %last_flags, i32 %last_length, ptr %out) #0 {"
        )
        self._line("entry:")
        self._line(f"%stride = mul i64 %blocks, {BLOCK_BYTES}")
        self._line(f"%turn = mul i64 %stride, {lanes}")
        self._line("%last = sub i64 %count, 1")
        self._line("%begin_flags = or i32 %flags, %first_flags")
        self._line("br label %inputs")

        self._line("inputs:")
        self._line("%base = phi i64 [ 0, %entry ], [ %next_base, %store ]")
        for lane in range(lanes):
            index = self._let(f"add i64 %base, {lane}")
            beyond = self._let(f"icmp ugt i64 {index}, %last")
            mine = self._let(f"select i1 {beyond}, i64 %last, i64 {index}")
            offset = self._let(f"mul i64 {mine}, %stride")
            self._line(f"%lane{lane} = getelementptr i8, ptr %in, i64 {offset}")
        moved = self._let("mul i64 %base, %step")
        self._line(f"%at_counter = add i64 %counter, {moved}")
        low, high = self._counters()
        self._line("br label %block")

        self._line("block:")
        for word, initial in enumerate(IV):
            self._line(f"%h{word} = phi {vector} [ {self._splat(initial)}, %inputs ], [ %n{word}, %block ]")
        self._line("%done = phi i64 [ 0, %inputs ], [ %next_done, %block ]")
        self._line("%some_flags = phi i32 [ %begin_flags, %inputs ], [ %flags, %block ]")
        self._line(f"%offset = mul i64 %done, {BLOCK_BYTES}")
        self._line("%next_done = add i64 %done, 1")
        self._line("%is_last = icmp eq i64 %next_done, %blocks")
        with_last = self._let("or i32 %some_flags, %last_flags")
        flags = self._let(f"select i1 %is_last, i32 {with_last}, i32 %some_flags")
        length = self._let(f"select i1 %is_last, i32 %last_length, i32 {BLOCK_BYTES}")
        tail = [low, high, self._broadcast(length), self._broadcast(flags)]
        h = self._compressed([f"%h{index}" for index in range(8)], self._message(), tail)
        for word, chained in enumerate(h):
            self._line(f"%n{word} = bitcast {vector} {chained} to {vector}")
        self._line("br i1 %is_last, label %store, label %block")

        self._line("store:")
        self._store()
        self._line(f"%next_base = add i64 %base, {lanes}")
        self._line("%more = icmp ult i64 %next_base, %count")
        self._line("br i1 %more, label %inputs, label %end")
        self._line("end:")
        self._line("ret void")
        self._line("}")
        return "\n".join(self._lines)

    def _store(self) -> None:
        """Eight vectors of words become a CV for each lane."""
        lanes, vector = self._lanes, self._vector
        at = self._let(f"mul i64 %base, {CV_BYTES}")
        target = self._let(f"getelementptr i8, ptr %out, i64 {at}")
        width = min(lanes, 8)  # words of a CV that one row holds
        for part in range(8 // width):
            words = [f"%n{index}" for index in range(width * part, width * part + width)]
            for lane, row in enumerate(self._transposed(words + ["poison"] * (lanes - width))):
                to = self._let(f"getelementptr i8, ptr {target}, i64 {CV_BYTES * lane + 4 * width * part}")
                if width < lanes:
                    kept = self._shuffle(row, "poison", list(range(width)))
                    self._line(f"store <{width} x i32> {kept}, ptr {to}, align 1")
                else:
                    self._line(f"store {vector} {row}, ptr {to}, align 1")


_LEVELS = f"""
define void @levels(ptr %in, i64 %count, i64 %counter, ptr %out) #0 {{
entry:
  call void @many(ptr %in, i64 %count, i64 {CHUNK_BLOCKS}, i64 %counter, i64 1, i32 0, i32 {CHUNK_START},
                  i32 {CHUNK_END}, i32 {BLOCK_BYTES}, ptr %out)
  br label %check
check:
  %row = phi ptr [ %out, %entry ], [ %next_row, %level ]
  %left = phi i64 [ %count, %entry ], [ %half, %level ]
  %more = icmp ugt i64 %left, 1
  br i1 %more, label %level, label %end
level:
  %bytes = mul i64 %left, {CV_BYTES}
  %next_row = getelementptr i8, ptr %row, i64 %bytes
  %half = lshr i64 %left, 1
  call void @many(ptr %row, i64 %half, i64 1, i64 0, i64 0, i32 {PARENT}, i32 0, i32 0, i32 {BLOCK_BYTES},
                  ptr %next_row)
  br label %check
end:
  ret void
}}
"""
