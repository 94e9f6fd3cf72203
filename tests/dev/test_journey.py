"""The way of a message is found among the lines of all parts, and gaps are named."""

from typing import Any

from rmb_peer.dev.journey import LINES_MAX, Recorder
from rmb_peer.dev.log_lines import LogLine

WAY: list[tuple[str, str, dict[str, Any]]] = [
    ("gateway-a", "taken", {"ref": "r", "command": "echo", "destinations": [2]}),
    ("gateway-a", "sent", {"destination": 2, "bytes": 300}),
    ("relay", "routed", {"kind": "request", "source": "1", "destination": "2", "how": "direct"}),
    ("gateway-b", "received", {"kind": "request", "bytes": 300}),
    ("gateway-b", "delivered", {"list": "msgbus.echo"}),
    ("echo", "program started", {}),
    ("echo", "program ended", {"ms": 2.5}),
    ("gateway-b", "taken", {}),
    ("gateway-b", "sent", {"destination": 1, "bytes": 310}),
    ("relay", "routed", {"kind": "response", "source": "2", "destination": "1", "how": "direct"}),
    ("gateway-a", "received", {"kind": "response", "bytes": 310}),
    ("gateway-a", "delivered", {"list": "answers"}),
]


def _line(part: str, event: str, at_s: float, **fields: object) -> LogLine:
    return LogLine(part, event, "debug", at_s, dict(fields), "")


def _recorder(skip: int | None = None) -> Recorder:
    recorder = Recorder()
    for other in ("u-0", "u-1"):  # the lines of another message come first
        for number, (part, event, fields) in enumerate(WAY):
            if number != skip:
                mine: dict[str, Any] = {**fields, "uid": other}
                if "ref" in fields and other == "u-0":
                    mine["ref"] = "somebody else's"
                recorder.add(_line(part, event, 100 + number / 1000, **mine))
    return recorder


def test_every_step_is_told_in_order() -> None:
    """Each line becomes a step with its milliseconds and what it says."""
    recorder = _recorder()
    assert recorder.complete("r")
    steps = recorder.steps("r", pushed_at_s=99.999, popped_at_s=100.5)
    assert [step.ms for step in steps] == [0.0, *[float(n + 1) for n in range(12)], 501.0]
    assert [step.part for step in steps] == ["client", *[part for part, _, _ in WAY], "client"]
    assert steps[3].what == "routes it from 1 to 2 (direct)"
    assert steps[7].what == "the program ends after 2.5 ms; pushes its answer to msgbus.system.reply"


def test_a_missing_line_is_named() -> None:
    """A step whose line did not come is shown as not seen; the others are still there."""
    recorder = _recorder(skip=2)
    assert not recorder.complete("r")
    steps = recorder.steps("r", 100, 101)
    assert (steps[3].ms, steps[3].part, steps[3].what) == (None, "relay", "(routed: not seen)")
    assert [step.ms is None for step in steps].count(True) == 1


def test_without_the_first_line_nothing_is_known() -> None:
    """A request that was never taken has no steps of anybody else's message."""
    steps = _recorder(skip=0).steps("r", 100, 101)
    assert {step.ms for step in steps[1:-1]} == {None}


def test_lines_are_limited() -> None:
    """Lines beyond the limit are not kept, those at the limit are."""
    recorder = Recorder()
    for _ in range(LINES_MAX - 1):
        recorder.add(_line("relay", "routed", 1, uid="x"))
    recorder.add(_line("gateway-a", "taken", 1, uid="u", ref="kept"))
    recorder.add(_line("gateway-a", "taken", 1, uid="u", ref="not kept"))
    assert (recorder.uid_of("kept"), recorder.uid_of("not kept")) == ("u", None)
