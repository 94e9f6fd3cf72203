"""Summaries over seeds."""

import pytest

from tests.simulation.gossip.statistics import percentile, summarise


def test_confidence_interval_of_five_values() -> None:
    """Mean, deviation and Student's interval of 1 to 5."""
    summary = summarise([1, 2, 3, 4, 5])
    assert (summary.mean, summary.least, summary.most, summary.count) == (3, 1, 5, 5)
    assert summary.sd == pytest.approx(1.5811, abs=1e-4)
    assert summary.ci95 == pytest.approx(1.9633, abs=1e-3)  # 2.776 * 1.5811 / sqrt(5)


def test_one_seed_has_no_interval() -> None:
    """One value is its own mean, without deviation."""
    assert summarise([7]).ci95 == summarise([7]).sd == 0


def test_many_seeds_use_the_normal_quantile() -> None:
    """Beyond the table of t, the interval goes on without a jump."""
    values = [0.0, 1.0] * 50
    assert summarise(values[:31]).ci95 > summarise(values[:32]).ci95 > summarise(values).ci95 > 0


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 5), (90, 9), (99, 10), (100, 10)])
def test_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    """Percentiles of 1 to 10."""
    assert percentile(range(1, 11), percent) == value
