"""The onlooker of the fault campaign: it finds what it is there to find."""

from typing import Any

from tests.faults.verdict import judge


def answer(ref: str, dat: str | None = None, code: int | None = None) -> dict[str, Any]:
    return {"ref": ref, "dat": ref if dat is None else dat, "err": None if code is None else {"code": code}}


def test_a_good_campaign() -> None:
    """Everything ended once; errors are endings, too."""
    verdict = judge(["a", "b"], [answer("a"), answer("b", code=429)], ["a"])
    assert verdict.good
    assert (verdict.sent, verdict.answered, verdict.errors) == (2, 1, {429: 1})


def test_every_broken_promise_is_found() -> None:
    """Lost, ended twice, answered wrongly, never asked, delivered twice."""
    answers = [answer("twice"), answer("twice", code=102), answer("wrong", dat="x"), answer("never")]
    verdict = judge(["lost", "twice", "wrong"], answers, ["twice", "wrong", "wrong"])
    assert not verdict.good
    assert verdict.lost == ["lost"]
    assert verdict.ended_twice == ["twice"]
    assert verdict.wrong == ["wrong", "never"]
    assert verdict.delivered_twice == ["wrong"]
