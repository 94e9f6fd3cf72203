"""The probe of `/readyz`: endings that come together do no harm."""

from collections.abc import Callable
from typing import Any, cast

from rmb_peer.downstream import Downstream
from rmb_peer.probing import Prober
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.errors import OtherError
from rmb_peer.sender import Draft, Sender


class BothAtOnce:
    """Sender and receiver in one: the probe fails, and its answer comes before anybody has heard of that."""

    def __init__(self) -> None:
        self.answered: Callable[[Envelope], None]

    def expect(self, uid: str, answered: Callable[[Envelope], None]) -> None:
        self.answered = answered

    def expect_no_more(self, uid: str) -> None:
        pass

    def submit(self, draft: Draft) -> None:
        draft.failed(OtherError("refused"))
        self.answered(draft.envelope)


async def test_an_answer_after_a_failure_is_ignored() -> None:
    """The first ending counts; the second one raises nothing into the task that delivers."""
    both: Any = BothAtOnce()
    prober = Prober(
        twin_id=1,
        sender=cast(Sender, both),
        downstream=cast(Downstream, both),
        connected=lambda: True,
        clock=lambda: 0.0,
        random_bytes=bytes,
    )
    assert (await prober.probed()).problem == "other: refused"
