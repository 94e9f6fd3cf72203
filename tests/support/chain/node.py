"""The stand-in's inside: ledger, pool, finality, who hears of new blocks. It refuses to know JSON and sockets.

Everything happens at once and in the caller's turn; only finality may wait (`finality_delay_s`).
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rmb_peer.protocol.ss58 import decode_account
from tests.support.chain import data, keys
from tests.support.chain.blocks import EXISTENTIAL_DEPOSIT_UNITS, Account, Block, Ledger, fee_units, read_account
from tests.support.chain.codec import BadScale, Reader, u32
from tests.support.chain.extrinsics import Signed, has_good_signature, parse
from tests.support.chain.pallet import NotHere, Run, StoredTwin, decode_twin, read_call
from tests.support.chain.runtime import TFGRID, Runtime, first, moved

TFT_UNITS = 10_000_000
"""Spec tfchain 1, "token"."""

MOVED_PALLET = 77
"""Where `TfgridModule` is after an upgrade; free in spec version 149."""

Status = str | dict[str, Any]


class Refused(Exception):
    """A request gets a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def invalid(why: str) -> Refused:
    """An extrinsic that the pool does not take (spec tfchain 3, "Errors when submitting")."""
    return Refused(1010, "Invalid Transaction", why)


@dataclass(slots=True, eq=False)
class Pooled:
    """An extrinsic that waits for a block, or is in one that is not final yet."""

    signed: Signed
    run: Run
    on_status: Callable[[Status], None]
    block: Block | None = None


@dataclass(slots=True, eq=False)
class Listeners:
    """Who is called when something happens."""

    best: set[Callable[[Block], None]] = field(default_factory=set)
    imported: set[Callable[[Block], None]] = field(default_factory=set)
    finalized: set[Callable[[Block], None]] = field(default_factory=set)


def _silence(_: Status) -> None:
    return None


class Node:
    """A chain of one.

    Attributes:
        instant: make a block whenever an extrinsic arrives.
        finality_lag: how many blocks finality is behind.
        finality_delay_s: how long a block takes to become final besides.
        state_blocks: of how many blocks the state is kept.
        now_ms: tells the time.
    """

    def __init__(
        self,
        *,
        name: str = "stand-in",
        instant: bool = True,
        finality_lag: int = 0,
        finality_delay_s: float = 0.0,
        state_blocks: int = 4096,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        runtime: Runtime | None = None,
    ) -> None:
        self.ledger = Ledger(data.genesis(), runtime or first(), name)
        self.instant = instant
        self.finality_lag = finality_lag
        self.finality_delay_s = finality_delay_s
        self.state_blocks = state_blocks
        self.now_ms = now_ms
        self.listeners = Listeners()
        self.pool: list[Pooled] = []
        self._in_blocks: list[Pooled] = []
        self._timers: set[asyncio.TimerHandle] = set()

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def best(self) -> Block:
        """The newest block of the best chain."""
        return self.ledger.best

    @property
    def runtime(self) -> Runtime:
        """The program that carries out the next block."""
        return self.best.runtime

    @property
    def twins(self) -> dict[int, StoredTwin]:
        """All twins after the best block, by id."""
        found = (decode_twin(raw) for key, raw in self.best.state.items() if key.startswith(keys.TWINS))
        return {twin.id: twin for twin in sorted(found, key=lambda twin: twin.id)}

    def account(self, who: bytes | str) -> Account | None:
        """Nonce and balance."""
        return read_account(self.best.state, _account(who))

    def keeps_state_of(self, block: Block) -> bool:
        """Whether the state after a block can still be read."""
        return self.best.number - block.number < self.state_blocks

    # --- development: what no real node lets anybody do ---------------------------------------------------------------

    def write_state(self, key: bytes, value: bytes | None) -> None:
        """Change the state after the best block, without a block or an event."""
        state = dict(self.best.state)
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value
        self.best.state = state

    def fund(self, who: bytes | str, units: int = 100 * TFT_UNITS) -> None:
        """Set an account's balance; it exists from then on."""
        before = self.account(who)
        self.write_state(keys.account(_account(who)), Account(before.nonce if before else 0, units).encode())

    def put_twin(
        self, who: bytes | str, *, relay: bytes | str | None = None, pk: bytes | None = None, announce: bool = True
    ) -> StoredTwin:
        """A block with the creation or update of an account's twin, as if the account had signed it."""
        account, state = _account(who), self.best.state
        known = state.get(keys.twin_of_account(account))
        number = int.from_bytes(known or state.get(keys.TWIN_COUNT, b""), "little") + (known is None)
        twin = StoredTwin(number, account, relay.encode() if isinstance(relay, str) else relay, pk)
        changes = {keys.twin(number): twin.encode()}
        if known is None:
            changes |= {keys.TWIN_COUNT: u32(number), keys.twin_of_account(account): u32(number)}
        event = self.runtime.event(TFGRID, "TwinUpdated" if known else "TwinStored", twin.encode())
        self._adopt(self.ledger.write(self.best, changes, [event], self._next_ms(self.best)), announce=announce)
        return twin

    # --- blocks -------------------------------------------------------------------------------------------------------

    def produce(self, count: int = 1, *, announce: bool = True) -> Block:
        """Make blocks; what waits in the pool goes into the first.

        Args:
            announce: tell of each. Without it they are there, but nobody hears of them: skipped heads.
        """
        for _ in range(count):
            self._extend(self.best, self._take_ready(), announce=announce)
        return self.best

    def reorganise(self, depth: int, *, length: int | None = None, keep: bool = False, announce: bool = True) -> Block:
        """Replace the newest blocks by a branch; only its end is announced, as nodes do.

        Args:
            depth: how many blocks are reverted.
            length: of the branch; one more than `depth` by default, as the longer chain wins.
            keep: carry out the reverted extrinsics again, in the first block of the branch.
        """
        parent = self.ledger.chain[-1 - depth]
        lost = [pooled for pooled in self._in_blocks if pooled.block and pooled.block.number > parent.number]
        blocks = depth + 1 if length is None else length
        for pooled in lost:
            assert pooled.block is not None
            pooled.on_status({"retracted": _hex(pooled.block.hash)})
            self._in_blocks.remove(pooled)
        block = parent
        for step in range(blocks):
            calls = [(pooled.signed, pooled.run) for pooled in lost] if keep and step == 0 else []
            block = self.ledger.execute(block, calls, self._next_ms(block))
            if calls:
                for pooled in lost:
                    pooled.block = block
            for heard in tuple(self.listeners.imported):
                heard(block)
        if keep:
            self._in_blocks += lost
        self._adopt(block, announce=announce, imported=False)
        if keep:
            for pooled in lost:
                assert pooled.block is not None
                pooled.on_status({"inBlock": _hex(pooled.block.hash)})
        return block

    def upgrade(self, pallet_index: int = MOVED_PALLET) -> Block:
        """A block after which the program has the next spec version and `TfgridModule` another number."""
        parent = self.best
        block = self.ledger.execute(parent, [], self._next_ms(parent), moved(parent.runtime, pallet_index))
        self._adopt(block)
        return block

    def _extend(self, parent: Block, ready: list[Pooled], *, announce: bool) -> None:
        calls = [(pooled.signed, pooled.run) for pooled in ready]
        block = self.ledger.execute(parent, calls, self._next_ms(parent))
        for pooled in ready:
            pooled.block = block
        self._in_blocks += ready
        self._adopt(block, announce=announce, included=ready)

    def _adopt(
        self, block: Block, *, announce: bool = True, imported: bool = True, included: list[Pooled] | None = None
    ) -> None:
        self.ledger.adopt(block)
        if announce:
            for heard in tuple(self.listeners.imported) if imported else ():
                heard(block)
            for heard in tuple(self.listeners.best):
                heard(block)
        for pooled in included or ():
            pooled.on_status({"inBlock": _hex(block.hash)})
        if self.finality_delay_s:
            self._later(self.finality_delay_s, lambda: self.finalize(block.number - self.finality_lag))
        else:
            self.finalize(block.number - self.finality_lag)

    def finalize(self, number: int) -> None:
        """Make the best chain final up to a block, and say so."""
        ledger = self.ledger
        number = min(number, self.best.number)
        if number <= ledger.finalized:
            return
        ledger.finalized = number
        for heard in tuple(self.listeners.finalized):
            heard(ledger.chain[number])
        for pooled in tuple(self._in_blocks):
            assert pooled.block is not None
            if pooled.block.number <= number:
                self._in_blocks.remove(pooled)
                pooled.on_status({"finalized": _hex(pooled.block.hash)})

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(delay_s, run)
        self._timers.add(timer)

    def close(self) -> None:
        """Let no timer fire any more."""
        for timer in self._timers:
            timer.cancel()

    def _next_ms(self, parent: Block) -> int:
        before = int.from_bytes(parent.own.get(keys.NOW, b""), "little")
        return max(self.now_ms(), before + 1)

    # --- the pool -----------------------------------------------------------------------------------------------------

    def submit(self, raw: bytes, on_status: Callable[[Status], None] = _silence) -> str:
        """Take an extrinsic; with `instant`, it is in a block when this returns.

        Raises:
            Refused: with the codes of a real node (spec tfchain 3).
        """
        pooled = self._check(raw, on_status)
        self.pool.append(pooled)
        account = self.account(pooled.signed.account)
        on_status("ready" if account and pooled.signed.nonce == account.nonce else "future")
        if self.instant:
            self.produce()
        return "0x" + hashlib.blake2b(raw, digest_size=32).hexdigest()

    def _check(self, raw: bytes, on_status: Callable[[Status], None]) -> Pooled:
        try:
            signed = parse(raw)
            reader = Reader(signed.call)
            run = read_call(self.runtime, reader)
            reader.end()
        except BadScale as error:  # the real runtime traps when it decodes this
            raise Refused(
                1002, "Verification Error: Runtime error: Execution failed: Execution aborted due to trap", str(error)
            ) from None
        except NotHere as error:
            raise invalid(str(error)) from None
        if any(pooled.signed.raw == raw for pooled in (*self.pool, *self._in_blocks)):
            raise Refused(1013, "Transaction Already Imported", "transaction already in the pool")
        self._check_signed(signed)
        return Pooled(signed, run, on_status)

    def _check_signed(self, signed: Signed) -> None:
        genesis = self.ledger.chain[0].hash
        good = has_good_signature(signed, self.runtime, genesis, self.best.number + 1, self.ledger.hash_of)
        if good is None:
            raise invalid("Transaction has an ancient birth block")
        if not good:
            raise invalid("Transaction has a bad signature")
        account = self.account(signed.account)
        if account and signed.nonce < account.nonce:
            raise invalid("Transaction is outdated")
        if account is None or account.free - fee_units(signed) < EXISTENTIAL_DEPOSIT_UNITS:
            raise invalid("Inability to pay some fees (e.g. account balance too low)")

    def _take_ready(self) -> list[Pooled]:
        """What can go into the next block: still valid, and its account's next in order."""
        ready: list[Pooled] = []
        nonces: dict[bytes, int] = {}
        spent: dict[bytes, int] = {}
        for pooled in sorted(self.pool, key=lambda pooled: pooled.signed.nonce):
            signed = pooled.signed
            account = self.account(signed.account) or Account()
            expected = nonces.get(signed.account, account.nonce)
            if signed.nonce > expected:
                continue
            try:
                self._check_signed(signed)
                if account.free - spent.get(signed.account, 0) - fee_units(signed) < EXISTENTIAL_DEPOSIT_UNITS:
                    raise invalid("Inability to pay some fees (e.g. account balance too low)")
            except Refused:
                self.pool.remove(pooled)
                pooled.on_status("invalid")
                continue
            if signed.nonce < expected:
                self.pool.remove(pooled)
                pooled.on_status({"usurped": "0x" + hashlib.blake2b(signed.raw, digest_size=32).hexdigest()})
                continue
            nonces[signed.account] = expected + 1
            spent[signed.account] = spent.get(signed.account, 0) + fee_units(signed)
            ready.append(pooled)
        self.pool = [pooled for pooled in self.pool if pooled not in ready]
        return ready


def _account(who: bytes | str) -> bytes:
    return decode_account(who) if isinstance(who, str) else who


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()
