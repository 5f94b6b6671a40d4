"""Language bias: whether documents that say the same are ranked alike, whatever their language and the query's.

One measure a file: `ranks.py`, `peer.py`, `agreement.py` and `shares.py`; `per_query.py` makes their columns.
"""

from __future__ import annotations

from hbt_ray.evaluation.bias.ranks import rank_distance
from hbt_ray.evaluation.bias.shares import TOP, by_script, language_shares

__all__ = ["TOP", "by_script", "language_shares", "rank_distance"]
