"""The benchmark of the connection runs, so that its figures can be had again."""

from pathlib import Path

from tests.benchmarks.store_wire import measure


async def test_every_case_has_both_figures(tmp_path: Path) -> None:
    """Each case is measured both ways, on queues that work."""
    found = await measure(1, 16, tmp_path)
    assert len(found) == 4
    assert all(set(figures) == {"redis-py", "wire"} and min(figures.values()) > 0 for _, figures in found)
