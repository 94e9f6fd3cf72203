"""A short campaign with real processes; `python -m tests.faults` runs long ones."""

from pathlib import Path

from tests.faults.campaign import Plan, run


async def test_a_short_campaign(tmp_path: Path) -> None:
    """Parts are killed, paused and cut off while requests cross: nothing lost, nothing doubled, everything ended."""
    report = await run(Plan(requests=400, faults=16, fault_gap_s=0.5, seed=20), tmp_path)
    assert report.good, report
    assert report.verdict.sent == 400
    assert report.kills > 4
