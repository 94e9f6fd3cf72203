"""What a Pong proves: everything that was sent before its Ping, and nothing else."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rmb_peer.protocol.confirmation import DEAD_S, PING_IDLE_S, Confirmation


def test_a_pong_confirms_what_was_sent_before_its_ping() -> None:
    """Messages sent between Ping and Pong stay unproven."""
    link: Confirmation[str] = Confirmation(0.0)
    link.sent("a", 10)
    link.pinged()
    link.sent("b", 5)
    assert link.ponged(1.0) == ["a"]
    assert (list(link.unconfirmed), link.unconfirmed_bytes) == (["b"], 5)


def test_when_pings_are_due() -> None:
    """At once for unproven messages, after the gap for the next ones, after 20 s of silence otherwise (spec 5.7)."""
    link: Confirmation[str] = Confirmation(100.0, ping_gap_s=0.25)
    assert link.ping_due_s() == 100.0 + PING_IDLE_S
    link.sent("a", 1)
    assert link.ping_due_s() == 100.0
    link.pinged()
    assert link.ping_due_s() is None
    link.sent("b", 1)
    link.ponged(101.0)
    assert link.ping_due_s() == 101.25
    link.heard(150.0)
    link.pinged()
    link.ponged(151.0)
    assert link.ping_due_s() == 151.0 + PING_IDLE_S


def test_silence_kills() -> None:
    """Forty seconds without anything from the other end, counted anew by whatever arrives (spec 5.7)."""
    link: Confirmation[str] = Confirmation(0.0)
    assert link.dead_s() == DEAD_S
    link.heard(7.0)
    assert link.dead_s() == 7.0 + DEAD_S
    link.pinged()
    link.ponged(9.0)
    assert link.dead_s() == 9.0 + DEAD_S


class ConfirmationMachine(RuleBasedStateMachine):
    """Against a model that keeps a full list: any order of sends, Pings and Pongs."""

    def __init__(self) -> None:
        super().__init__()
        self.link: Confirmation[int] = Confirmation(0.0)
        self.sent: list[tuple[int, int]] = []
        self.proven = 0
        self.covered: int | None = None
        self.now_s = 0.0

    @rule(size=st.integers(0, 1000))
    def send(self, size: int) -> None:
        self.link.sent(len(self.sent), size)
        self.sent.append((len(self.sent), size))

    @precondition(lambda self: self.covered is None)
    @rule()
    def ping(self) -> None:
        assert self.link.ping_due_s() is not None
        self.link.pinged()
        self.covered = len(self.sent)

    @precondition(lambda self: self.covered is not None)
    @rule(step_s=st.floats(0, 10))
    def pong(self, step_s: float) -> None:
        assert self.covered is not None
        self.now_s += step_s
        assert self.link.ponged(self.now_s) == list(range(self.proven, self.covered))
        self.proven, self.covered = self.covered, None

    @invariant()
    def unproven_is_the_rest(self) -> None:
        rest = self.sent[self.proven :]
        assert list(self.link.unconfirmed) == [number for number, _ in rest]
        assert self.link.unconfirmed_bytes == sum(size for _, size in rest)
        assert (self.link.ping_due_s() is None) == (self.covered is not None)


TestConfirmation = ConfirmationMachine.TestCase
