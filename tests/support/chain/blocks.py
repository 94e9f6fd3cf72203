"""Blocks, each with its state: a tree of them, one branch of which is the best chain.

A block's hash is the true hash of its header. What a header says of state and extrinsics (their "roots") is only a
value that differs from block to block, since nobody here can check a trie. It refuses to know pools and clients.
"""

import hashlib
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.chain import keys
from tests.support.chain.codec import compact, text, u32, u64, u128
from tests.support.chain.extrinsics import Signed
from tests.support.chain.pallet import Context, DispatchFailed, Run
from tests.support.chain.runtime import TFGRID, Runtime, record

FEE_BASE_UNITS = 10_000
"""And one unit for each byte (spec tfchain 6, "Fees"); the small part for weight is left out."""

EXISTENTIAL_DEPOSIT_UNITS = 500
"""Spec tfchain 1."""

AUTHOR = bytes.fromhex("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d")
"""Who makes the blocks and gets the fees: //Alice, the one authority of the genesis state."""

_NO_PARENT = bytes(32)
_NORMAL, _MANDATORY = b"\0\0", b"\2\0"  # class of the extrinsic, and that it pays


@dataclass(frozen=True, slots=True)
class Account:
    """An entry of `System.Account`."""

    nonce: int = 0
    free: int = 0

    def encode(self) -> bytes:
        """Nonce, three counters of references, then free, reserved, frozen and flags."""
        references = u32(0) + u32(1) + u32(0)
        return u32(self.nonce) + references + u128(self.free) + u128(0) * 2 + u128(1 << 127)


def read_account(state: Mapping[bytes, bytes], who: bytes) -> Account | None:
    """An account, `None` when it does not exist."""
    raw = state.get(keys.account(who))
    return None if raw is None else Account(int.from_bytes(raw[:4], "little"), int.from_bytes(raw[16:32], "little"))


def fee_units(signed: Signed) -> int:
    """What carrying it out costs, whether it fails or not."""
    return FEE_BASE_UNITS + len(signed.raw) + signed.tip


@dataclass(slots=True, eq=False)
class Block:
    """One block.

    Attributes:
        runtime: the program from this block on: it carries out the next block.
        state: what changes rarely, shared with the parent when nothing changed.
        own: what every block has anew.
    """

    number: int
    parent: "Block | None"
    root: bytes
    extrinsics: list[bytes]
    runtime: Runtime
    state: dict[bytes, bytes]
    own: dict[bytes, bytes] = field(default_factory=dict)
    hash: bytes = b""

    def __post_init__(self) -> None:
        raw = self._parent_hash() + compact(self.number) + self.root + self._extrinsics_root() + compact(0)
        self.hash = hashlib.blake2b(raw, digest_size=32).digest()

    def _parent_hash(self) -> bytes:
        return self.parent.hash if self.parent else _NO_PARENT

    def _extrinsics_root(self) -> bytes:
        return hashlib.blake2b(b"".join(self.extrinsics), digest_size=32).digest()

    def header(self) -> dict[str, Any]:
        """The header as JSON-RPC shows it."""
        return {
            "parentHash": "0x" + self._parent_hash().hex(),
            "number": hex(self.number),
            "stateRoot": "0x" + self.root.hex(),
            "extrinsicsRoot": "0x" + self._extrinsics_root().hex(),
            "digest": {"logs": []},
        }

    def get(self, key: bytes) -> bytes | None:
        """A value of the state after this block."""
        return self.own[key] if key in self.own else self.state.get(key)


class Ledger:
    """The tree of blocks.

    Attributes:
        chain: the best chain, by number.
        finalized: number of the newest block that cannot be reverted.
    """

    def __init__(self, genesis_state: dict[bytes, bytes], runtime: Runtime, name: str) -> None:
        """Make the genesis block; `name` makes its hash differ from that of other chains."""
        self._made = 0
        root = hashlib.blake2b(name.encode(), digest_size=32).digest()
        genesis = Block(0, None, root, [], runtime, dict(genesis_state))
        self.chain = [genesis]
        self.blocks = {genesis.hash: genesis}
        self.finalized = 0

    @property
    def best(self) -> Block:
        """The newest block of the best chain."""
        return self.chain[-1]

    def hash_of(self, number: int) -> bytes | None:
        """The hash of a block of the best chain."""
        return self.chain[number].hash if 0 <= number < len(self.chain) else None

    def execute(
        self, parent: Block, calls: Sequence[tuple[Signed, Run]], now_ms: int, runtime: Runtime | None = None
    ) -> Block:
        """Make a block on top of another, without changing which chain is best.

        Args:
            calls: what to carry out; each can pay its fee.
            runtime: the program from then on, when it changes.
        """
        self._made += 1
        program = parent.runtime
        inherent = _timestamp(program, now_ms)
        state = dict(parent.state) if calls else parent.state
        events = [record(0, program.event("System", "ExtrinsicSuccess", _weight(_MANDATORY)))]
        if runtime is not None:
            events.append(record(0, program.event("System", "CodeUpdated")))
        for index, (signed, run) in enumerate(calls, start=1):
            events += [record(index, event) for event in _apply(program, state, signed, run, now_ms)]
        root = hashlib.blake2b(parent.hash + u64(self._made), digest_size=32).digest()
        raw = [inherent, *(signed.raw for signed, _ in calls)]
        block = Block(parent.number + 1, parent, root, raw, runtime or program, state)
        block.own = {
            keys.EVENTS: compact(len(events)) + b"".join(events),
            keys.NUMBER: u32(block.number),
            keys.NOW: u64(now_ms),
        }
        self.blocks[block.hash] = block
        return block

    def write(self, parent: Block, changes: Mapping[bytes, bytes], events: Sequence[bytes], now_ms: int) -> Block:
        """Make a block whose changes come from nowhere, as if somebody had signed for them."""
        block = self.execute(parent, [], now_ms)
        block.state = {**block.state, **changes}
        plain = block.own[keys.EVENTS]  # one event, its number in the first byte
        block.own[keys.EVENTS] = compact(1 + len(events)) + plain[1:] + b"".join(record(0, event) for event in events)
        return block

    def adopt(self, block: Block) -> list[Block]:
        """Make the chain that ends with this block the best one.

        Returns:
            the blocks that are no longer part of it.
        """
        branch = []
        at: Block | None = block
        while at is not None and self.hash_of(at.number) != at.hash:
            branch.append(at)
            at = at.parent
        assert at is not None, "a block of another chain"
        assert at.number >= self.finalized, "a finalized block cannot be reverted"
        lost = self.chain[at.number + 1 :]
        self.chain[at.number + 1 :] = reversed(branch)
        return lost


def _apply(program: Runtime, state: dict[bytes, bytes], signed: Signed, run: Run, now_ms: int) -> list[bytes]:
    who, fee = signed.account, fee_units(signed)
    payer = read_account(state, who)
    assert payer is not None
    state[keys.account(who)] = Account(payer.nonce + 1, payer.free - fee).encode()
    trial: ChainMap[bytes, bytes] = ChainMap({}, state)
    try:
        done = run(Context(trial, who, now_ms, program))
    except DispatchFailed as failed:
        done = []
        end = program.event("System", "ExtrinsicFailed", program.error(TFGRID, str(failed)) + _weight(_NORMAL))
    else:
        state |= trial.maps[0]
        end = program.event("System", "ExtrinsicSuccess", _weight(_NORMAL))
    author = read_account(state, AUTHOR) or Account()
    state[keys.account(AUTHOR)] = Account(author.nonce, author.free + fee).encode()
    return [
        program.event("Balances", "Withdraw", who + u128(fee)),
        *done,
        program.event("Balances", "Deposit", AUTHOR + u128(fee)),
        program.event("TransactionPayment", "TransactionFeePaid", who + u128(fee) + u128(signed.tip)),
        end,
    ]


def _timestamp(program: Runtime, now_ms: int) -> bytes:
    pallet = program.pallets["Timestamp"]
    return text(bytes([4, pallet.index, pallet.calls["set"]]) + compact(now_ms))


def _weight(kind_and_pays: bytes) -> bytes:
    return compact(10_000_000) + compact(0) + kind_and_pays
