"""Many seeds to one figure: mean, standard deviation, 95 % confidence interval, percentiles. Plain numbers only."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom (any statistics handbook); beyond 30 the normal
# quantile is within 4 %.
T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
NORMAL_95 = 1.960


@dataclass(frozen=True, slots=True)
class Summary:
    """One measure over all seeds."""

    count: int
    mean: float
    sd: float  # of the sample; 0 with one seed
    ci95: float  # half the width of the confidence interval of the mean; 0 with one seed
    least: float
    most: float


def summarise(values: Sequence[float]) -> Summary:
    """The summary of at least one value."""
    count = len(values)
    sd = statistics.stdev(values) if count > 1 else 0.0
    quantile = T_95[count - 2] if 2 <= count <= len(T_95) + 1 else NORMAL_95
    return Summary(count, statistics.fmean(values), sd, quantile * sd / math.sqrt(count), min(values), max(values))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value at `percent` of an ascending, non-empty sequence (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
