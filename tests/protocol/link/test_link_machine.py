"""Two ends, two lines that keep the order, and every order of events that Hypothesis can think of."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rmb_peer.protocol.link.endings import FIRST_WINDOW, IS_AT_PEER, IS_SAFE, Ending, Outcome, Window
from rmb_peer.protocol.link.link import Link
from rmb_peer.protocol.link.pacing import HELD_S

OUTCOMES = st.sampled_from((IS_SAFE, IS_SAFE, IS_AT_PEER, Outcome(Ending.REFUSED, 429, "full", 10)))
SIDES = st.sampled_from((0, 1))


class _Side:
    """One end and what is known about it from outside."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.link: Link[int] = Link(window)
        self.line: deque[bytes] = deque()
        self.put: dict[int, bytes] = {}
        self.ended: dict[int, Outcome] = {}
        self.arrived: dict[int, bytes] = {}
        self.open: list[int] = []
        self.settled: dict[int, Outcome] = {}


class LinkMachine(RuleBasedStateMachine):
    """Every envelope arrives once, in order, and ends once, as the other side said."""

    @initialize(windows=st.lists(st.builds(Window, st.integers(1, 80), st.integers(1, 4000)), min_size=2, max_size=2))
    def connect(self, windows: list[Window]) -> None:
        self.sides = [_Side(window) for window in windows]
        self.now_s = 0.0

    @rule(side=SIDES, size=st.integers(0, 700))
    def put(self, side: int, size: int) -> None:
        at = self.sides[side]
        if at.link.has_room(size):
            number = len(at.put) + 1
            at.put[number] = bytes([number % 256]) * size
            at.link.put(number, at.put[number])

    @rule(side=SIDES)
    def write(self, side: int) -> None:
        at = self.sides[side]
        at.line.extend(iter(at.link.take_frame, None))

    @rule(side=SIDES, passed_s=st.floats(0.0, 2 * HELD_S))
    def drive(self, side: int, passed_s: float) -> None:
        """As a driver does: time passes, and what is due is written."""
        self.now_s += passed_s
        at = self.sides[side]
        if at.link.wait_s(self.now_s) == 0.0:
            self.write(side)
            assert at.link.wait_s(self.now_s) is None

    @rule(side=SIDES)
    def write_one(self, side: int) -> None:
        at = self.sides[side]
        if (frame := at.link.take_frame()) is not None:
            at.line.append(frame)

    @rule(side=SIDES)
    def read(self, side: int) -> None:
        source, target = self.sides[side], self.sides[1 - side]
        if source.line:
            heard = target.link.received(source.line.popleft())
            for number, data in heard.envelopes:
                assert number == len(target.arrived) + 1
                target.arrived[number] = data
                target.open.append(number)
            for number, outcome in heard.ended:
                assert number not in target.ended
                target.ended[number] = outcome

    @rule(side=SIDES, pick=st.integers(0, 10**6), outcome=OUTCOMES)
    def settle(self, side: int, pick: int, outcome: Outcome) -> None:
        at = self.sides[side]
        if at.open:
            number = at.open.pop(pick % len(at.open))
            at.settled[number] = outcome
            at.link.settle(number, outcome)

    @rule(side=SIDES, outcome=OUTCOMES)
    def settle_all(self, side: int, outcome: Outcome) -> None:
        at = self.sides[side]
        for number in at.open:
            at.settled[number] = outcome
            at.link.settle(number, outcome)
        at.open.clear()

    @precondition(lambda self: hasattr(self, "sides"))
    @invariant()
    def endings_are_true(self) -> None:
        for at, other in (self.sides, self.sides[::-1]):
            assert all(other.settled[number] == outcome for number, outcome in at.ended.items())
            assert all(at.put[number] == data for number, data in other.arrived.items())
            assert at.link.unended == len(at.put) - len(at.ended)
            assert at.link.unsettled == len(at.open)

    @precondition(lambda self: hasattr(self, "sides"))
    @invariant()
    def windows_are_kept(self) -> None:
        for at, other in (self.sides, self.sides[::-1]):
            window = other.window
            held = sum(len(at.put[number]) for number in at.put if number not in at.ended)
            count = at.link.unended
            assert count <= max(window.messages, FIRST_WINDOW.messages)
            assert count <= 1 or held <= max(window.size_bytes, FIRST_WINDOW.size_bytes)

    @precondition(lambda self: hasattr(self, "sides"))
    @invariant()
    def nothing_waits_for_long(self) -> None:
        for at in self.sides:
            wait_s = at.link.wait_s(self.now_s)
            assert wait_s is None or 0.0 <= wait_s <= HELD_S
            assert at.link.wait_s(self.now_s + HELD_S) in (None, 0.0)

    def teardown(self) -> None:
        """Everything is settled and said: then everything has ended."""
        if not hasattr(self, "sides"):
            return
        for _ in range(2):
            for side in (0, 1):
                self.write(side)
            for side in (0, 1):
                while self.sides[side].line:
                    self.read(side)
            for side in (0, 1):
                self.settle_all(side, IS_SAFE)
        for side in (0, 1):
            self.write(side)
            while self.sides[side].line:
                self.read(side)
        for at, other in (self.sides, self.sides[::-1]):
            assert at.put == other.arrived
            assert at.ended == other.settled
            assert at.ended.keys() == at.put.keys()
            assert at.link.take_unended() == []


TestLink = LinkMachine.TestCase
TestLink.settings = settings(max_examples=60, stateful_step_count=60)
