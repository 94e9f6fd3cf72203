"""A small assembler for WebAssembly: instructions in, the bytes of a module out.

It knows the instructions that the BLAKE3 kernel needs and the module sections around them (WebAssembly core
specification 2.0, chapter 5, "Binary Format"). It refuses to know what is computed.
"""

from collections.abc import Sequence

from rmb_peer.protocol.leb128 import unsigned

I32 = 0x7F
I64 = 0x7E
V128 = 0x7B

PAGE_BYTES = 65536
"""Memory comes in pages of this size."""


def signed(value: int) -> bytes:
    """A signed integer in LEB128."""
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


class Function:
    """One function under construction. Operands go over the stack, as the format has it.

    Args:
        parameters: value types of the parameters; they are the first locals.
    """

    def __init__(self, parameters: Sequence[int] = ()) -> None:
        self.parameters = tuple(parameters)
        self._locals: list[int] = []
        self._code = bytearray()

    def local(self, kind: int) -> int:
        """A new local of this type; the answer is its index."""
        self._locals.append(kind)
        return len(self.parameters) + len(self._locals) - 1

    def _emit(self, *parts: int | bytes) -> None:
        for part in parts:
            self._code += part if isinstance(part, bytes) else bytes((part,))

    def _vector(self, opcode: int, *parts: bytes) -> None:
        self._emit(0xFD, unsigned(opcode), *parts)

    # control

    def begin_loop(self) -> None:
        """Open a loop; `repeat_if` with depth 0 inside goes back here."""
        self._emit(0x03, 0x40)

    def begin_if(self) -> None:
        """Open a block that runs when the popped i32 is not zero."""
        self._emit(0x04, 0x40)

    def end(self) -> None:
        """Close the innermost loop or block."""
        self._emit(0x0B)

    def repeat_if(self) -> None:
        """Go back to the start of the innermost loop when the popped i32 is not zero."""
        self._emit(0x0D, 0x00)

    def call(self, function: int) -> None:
        """Call the function with this index in the module."""
        self._emit(0x10, unsigned(function))

    # locals

    def get(self, index: int) -> None:
        """Push a local."""
        self._emit(0x20, unsigned(index))

    def set(self, index: int) -> None:
        """Pop into a local."""
        self._emit(0x21, unsigned(index))

    def tee(self, index: int) -> None:
        """Copy the top of the stack into a local."""
        self._emit(0x22, unsigned(index))

    # integers

    def i32(self, value: int) -> None:
        """Push a constant."""
        self._emit(0x41, signed(value))

    def i64(self, value: int) -> None:
        """Push a constant."""
        self._emit(0x42, signed(value))

    def load_i32(self, offset: int) -> None:
        """Pop an address, push the four bytes at address + offset."""
        self._emit(0x28, 0x02, unsigned(offset))

    def load_i64(self, offset: int) -> None:
        """Pop an address, push the eight bytes at address + offset."""
        self._emit(0x29, 0x03, unsigned(offset))

    def equal_i32(self) -> None:
        """Pop two i32; push whether they are equal."""
        self._emit(0x46)

    def greater_s_i32(self) -> None:
        """Pop two i32; push whether the first is greater, as signed numbers."""
        self._emit(0x4A)

    def add_i32(self) -> None:
        """Pop two i32, push their sum."""
        self._emit(0x6A)

    def sub_i32(self) -> None:
        """Pop two i32, push their difference."""
        self._emit(0x6B)

    def mul_i32(self) -> None:
        """Pop two i32, push their product."""
        self._emit(0x6C)

    def or_i32(self) -> None:
        """Pop two i32, push their union."""
        self._emit(0x72)

    def shr_u_i32(self) -> None:
        """Pop a value and a distance, push the value shifted to the right."""
        self._emit(0x76)

    def add_i64(self) -> None:
        """Pop two i64, push their sum."""
        self._emit(0x7C)

    def mul_i64(self) -> None:
        """Pop two i64, push their product."""
        self._emit(0x7E)

    def shr_u_i64(self) -> None:
        """Pop a value and a distance, push the value shifted to the right."""
        self._emit(0x88)

    def wrap_i64(self) -> None:
        """Pop an i64, push its low half as an i32."""
        self._emit(0xA7)

    # vectors of four 32-bit lanes

    def load_v128(self, offset: int) -> None:
        """Pop an address, push the sixteen bytes at address + offset."""
        self._vector(0x00, b"\x00", unsigned(offset))

    def store_v128(self, offset: int) -> None:
        """Pop an address and a vector, store the vector at address + offset."""
        self._vector(0x0B, b"\x00", unsigned(offset))

    def v128(self, words: Sequence[int]) -> None:
        """Push a constant, given as four 32-bit words."""
        self._vector(0x0C, *(word.to_bytes(4, "little") for word in words))

    def shuffle(self, lanes: Sequence[int]) -> None:
        """Pop two vectors; push sixteen of their 32 bytes."""
        self._vector(0x0D, bytes(lanes))

    def splat_i32(self) -> None:
        """Pop an i32, push a vector with it in every lane."""
        self._vector(0x11)

    def replace_lane(self, lane: int) -> None:
        """Pop a vector and an i32; push the vector with the lane replaced."""
        self._vector(0x1C, bytes((lane,)))

    def or_v128(self) -> None:
        """Pop two vectors, push their union."""
        self._vector(0x50)

    def xor_v128(self) -> None:
        """Pop two vectors, push their difference in bits."""
        self._vector(0x51)

    def shl_i32x4(self) -> None:
        """Pop a vector and a distance; push every lane shifted to the left."""
        self._vector(0xAB)

    def shr_u_i32x4(self) -> None:
        """Pop a vector and a distance; push every lane shifted to the right."""
        self._vector(0xAD)

    def add_i32x4(self) -> None:
        """Pop two vectors, push the sums of their lanes."""
        self._vector(0xAE)

    # encoding

    def body(self) -> bytes:
        """The entry of the code section: declarations of locals, instructions, end."""
        runs: list[list[int]] = []
        for kind in self._locals:
            if runs and runs[-1][1] == kind:
                runs[-1][0] += 1
            else:
                runs.append([1, kind])
        declared = unsigned(len(runs)) + b"".join(unsigned(count) + bytes((kind,)) for count, kind in runs)
        content = declared + bytes(self._code) + b"\x0b"
        return unsigned(len(content)) + content


def module(functions: Sequence[Function], exports: dict[str, int], memory_pages: int) -> bytes:
    """The bytes of a module whose functions return nothing.

    Args:
        functions: in the order of their indices.
        exports: name and index of the functions that the host may call; the memory is exported as `memory`.
        memory_pages: size of the memory, fixed.
    """

    def section(number: int, entries: Sequence[bytes]) -> bytes:
        content = unsigned(len(entries)) + b"".join(entries)
        return bytes((number,)) + unsigned(len(content)) + content

    def name(text: str) -> bytes:
        return unsigned(len(text)) + text.encode()

    types = [b"\x60" + unsigned(len(f.parameters)) + bytes(f.parameters) + b"\x00" for f in functions]
    exported = [name(text) + b"\x00" + unsigned(index) for text, index in exports.items()]
    return b"".join(
        (
            b"\0asm\x01\0\0\0",
            section(1, types),
            section(3, [unsigned(index) for index in range(len(functions))]),
            section(5, [b"\x01" + unsigned(memory_pages) + unsigned(memory_pages)]),
            section(7, [*exported, name("memory") + b"\x02\x00"]),
            section(10, [function.body() for function in functions]),
        )
    )
