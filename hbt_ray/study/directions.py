"""Which values of a measure are good, and in what it is counted; a measure that is not named here is best at 1."""

from __future__ import annotations

LOWER_IS_BETTER = frozenset(("rank_distance", "max_rank", "abs_language_preference@10"))
NO_DIRECTION = frozenset(("language_preference@10",))  # best at 0, from which a difference may lead either way
IN_RANKS = frozenset(("rank_distance", "max_rank"))


def verdict(measure: str, difference: float) -> str:
    """What a difference of a system from the baseline means: `better` or `worse`, or else `higher` or `lower`."""
    if measure in NO_DIRECTION:
        return "higher" if difference > 0 else "lower"
    return "better" if (difference < 0) == (measure in LOWER_IS_BETTER) else "worse"


def unit(measure: str) -> str:
    """What to say of a measure beside its axis."""
    best = "lower is better" if measure in LOWER_IS_BETTER else "higher is better"
    return f"{'ranks, ' if measure in IN_RANKS else ''}{'0 is best' if measure in NO_DIRECTION else best}"
