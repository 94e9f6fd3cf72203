"""The campaign: two gateways, two relays, four Valkeys, two services, the lines between; faults; a verdict.

    programs -- Valkey A -- gateway A --lines-- relay 1 -- Valkey 1     (and the same to relay 2)
    programs -- Valkey B -- gateway B --lines-- relay 1, relay 2

Requests go both ways. The driver chooses part, fault and instant from a seed; the machine's own timing is its own.
"""

import asyncio
import base64
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmb_peer.embedded.folder import free_port
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.ss58 import encode_account
from tests.faults.parts import Line, Part, line, python, valkey
from tests.faults.programs_side import ProgramsSide
from tests.faults.verdict import Verdict, judge
from tests.support.programs import new_secret

BURST = 20
"""Requests in one push."""

OUTSTANDING_MAX = 1500
"""Requests of one site without an end, beyond which its programs wait."""

PAUSE_S_MAX = 2.0
"""Longest pause of a part."""

STALLED_S = 90.0
"""At the end, how long nothing may come back before the rest counts as lost; several times any time-out of ours."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        requests: in all, half from each site.
        faults: how many.
        fault_gap_s: mean time between two.
        seed: of the driver's choices.
        workers: processes for signatures that each gateway has.
    """

    requests: int
    faults: int
    fault_gap_s: float
    seed: int
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What happened.

    Attributes:
        verdict: the figures of the onlooker.
        faults: how often each fault struck, by "kind part".
        left_over: what was still in a list or outbox at the end, by site and key.
        last_lines: what the parts logged last, by name; for a campaign that failed.
    """

    verdict: Verdict
    faults: dict[str, int]
    left_over: dict[str, int]
    last_lines: dict[str, list[str]]

    @property
    def kills(self) -> int:
        return sum(count for name, count in self.faults.items() if name.startswith("kill"))

    @property
    def good(self) -> bool:
        return self.verdict.good and not self.left_over


class Campaign:
    """One run.

    Attributes:
        struck: faults so far.
        sides: the two sites' programs.
    """

    def __init__(self, plan: Plan, folder: Path, relay_flags: Sequence[str] = ()) -> None:
        self.plan = plan
        self.struck = 0
        self.sides: list[ProgramsSide] = []
        self._folder = folder
        self._relay_flags = relay_flags
        self._random = random.Random(plan.seed)
        self._faults: Counter[str] = Counter()
        self._parts: list[Part] = []
        self._lines: list[Line] = []

    @property
    def ended(self) -> int:
        """Requests that have come back so far."""
        return sum(side.answered for side in self.sides)

    async def run(self) -> Report:
        """Build everything, let it run, tear it down."""
        async with AsyncExitStack() as stack:
            self._lines = [await stack.enter_async_context(line(f"line {number}")) for number in range(1, 5)]
            tasks = await stack.enter_async_context(_Tasks())
            self._build(tasks)
            for side in self.sides:
                stack.push_async_callback(side.close)
                await side.ready()
            programs = [tasks.start(side.serve_and_collect()) for side in self.sides]
            striking = tasks.start(self._strike_all())
            await asyncio.gather(*(self._push_all(index) for index in range(2)), striking)
            await self._until_ended(programs)
            return await self._report()

    def _build(self, tasks: "_Tasks") -> None:
        secrets = [new_secret(), new_secret()]
        ports = {name: free_port() for name in ("A", "B", "1", "2", "relay 1", "relay 2")}
        names = [f"localhost:{here.port}" for here in self._lines]
        twins = self._folder / "twins.toml"
        twins.write_text(
            "".join(_record(twin, secret, names[2 * twin - 2 : 2 * twin]) for twin, secret in enumerate(secrets, 1))
        )
        for name in ("A", "B", "1", "2"):
            self._parts.append(Part(f"valkey {name}", valkey(self._folder / f"valkey-{name}", ports[name])))
        for number in (1, 2):
            domains = names[number - 1 :: 2]
            words = ("--listen", f"127.0.0.1:{ports[f'relay {number}']}", "--redis", _url(ports[str(number)]))
            more = ("--registry", twins.as_uri(), "--log-format", "json", *self._relay_flags)
            self._parts.append(Part(f"relay {number}", python("relay", "-m", *domains, *words, *more)))
        for index, (name, secret) in enumerate(zip("AB", secrets, strict=True)):
            mine = self._lines[2 * index : 2 * index + 2]
            for number, here in enumerate(mine, 1):
                here.target = ports[f"relay {number}"]
            relays = [word for here in mine for word in ("--relay", f"ws://localhost:{here.port}")]
            flags = ["--redis", _url(ports[name]), "--registry", twins.as_uri(), "--no-update", "--log-format", "json"]
            flags += ["--workers", str(self.plan.workers)]
            self._parts.append(Part(f"gateway {name}", python("rmb_peer", *flags, *relays), {"RMB_MNEMONIC": secret}))
            self._parts.append(Part(f"service {name}", python("tests.faults.worker", _url(ports[name]))))
            self.sides.append(ProgramsSide(name, ports[name]))
        for part in self._parts:
            tasks.start(part.supervise())

    async def _push_all(self, index: int) -> None:
        side, receiver = self.sides[index], 2 - index
        count = self.plan.requests // 2
        pace_s = self.plan.faults * self.plan.fault_gap_s / max(1, count / BURST)
        for start in range(0, count, BURST):
            while side.pushed - side.answered > OUTSTANDING_MAX:
                await asyncio.sleep(0.05)  # lets the world keep up
            await side.push(range(start, min(start + BURST, count)), receiver)
            await asyncio.sleep(pace_s)  # spreads the requests over the faults

    async def _strike_all(self) -> None:
        for _ in range(self.plan.faults):
            await asyncio.sleep(self._random.expovariate(1 / self.plan.fault_gap_s))  # the gap between two faults
            self._strike()
            self.struck += 1

    def _strike(self) -> None:
        kind = self._random.choice(("kill", "kill", "kill", "pause", "cut"))
        if kind == "cut":
            here = self._random.choice(self._lines)
            here.cut()
            self._faults[f"cut {here.name}"] += 1
            return
        part = self._random.choice(self._parts)
        self._faults[f"{kind} {part.name}"] += 1
        if kind == "kill":
            part.signal(signal.SIGKILL)
            return
        part.signal(signal.SIGSTOP)
        pause_s = self._random.uniform(0.1, PAUSE_S_MAX)
        asyncio.get_running_loop().call_later(pause_s, part.signal, signal.SIGCONT)

    async def _until_ended(self, programs: Sequence["asyncio.Task[None]"]) -> None:
        """Wait until everything has come back, or nothing comes back any more."""
        loop = asyncio.get_running_loop()
        ended, since_s = -1, loop.time()
        while self.ended < sum(side.pushed for side in self.sides):
            if self.ended != ended:
                ended, since_s = self.ended, loop.time()
            elif loop.time() - since_s > STALLED_S:
                break
            await asyncio.sleep(0.05)  # polls what real processes do
        await self._until_quiet(loop.time() + STALLED_S)
        for task in programs:
            task.cancel()

    async def _until_quiet(self, give_up_at_s: float) -> None:
        """Outboxes and lists are emptied a moment after the last answer; a second answer would come with them."""
        while await self._left_over() and asyncio.get_running_loop().time() < give_up_at_s:
            await asyncio.sleep(0.1)  # polls what real processes do

    async def _left_over(self) -> dict[str, int]:
        return {f"{s.name} {name}": count for s in self.sides for name, count in (await s.left_over()).items()}

    async def _report(self) -> Report:
        sent, answers, seen = [], [], []
        for side in self.sides:
            sent += [f"{side.name}:{number}" for number in range(side.pushed)]
            answers += [answer | {"dat": _text(answer["dat"])} for answer in await side.answers()]
            seen += await side.seen()
        verdict = judge(sent, answers, seen)
        lines = {part.name: list(part.last_lines) for part in self._parts}
        return Report(verdict, dict(sorted(self._faults.items())), await self._left_over(), lines)


class _Tasks:
    """Tasks that are all ended on the way out. An error in one of them ends the campaign, where it is waited for."""

    async def __aenter__(self) -> "_Tasks":
        self._tasks: list[asyncio.Task[None]] = []
        return self

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _record(twin: int, secret: str, relays: Sequence[str]) -> str:
    identity = Identity.from_secret(secret, "sr25519", os.urandom)
    account, key = encode_account(identity.account), identity.public_key.hex()
    return f'[[twins]]\nid = {twin}\naccount = "{account}"\nrelays = {list(relays)!r}\npk = "{key}"\n'


def _url(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


def _text(data: str) -> str:
    return base64.b64decode(data or "").decode(errors="replace")


async def run(plan: Plan, folder: Path, progress: Callable[[Campaign], None] = lambda _: None) -> Report:
    """Run a campaign.

    Args:
        plan: what to do.
        folder: for the data of all parts.
        progress: called now and then.
    """
    campaign = Campaign(plan, folder)
    running = asyncio.create_task(campaign.run())
    while not running.done():
        progress(campaign)
        await asyncio.wait([running], timeout=0.5)
    progress(campaign)
    return running.result()
