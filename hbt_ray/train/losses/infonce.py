"""InfoNCE over the global batch, in any of the directions that recipes use, computed block by block."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.utils.checkpoint import checkpoint

from hbt_ray.config.losses import Direction, InfoNCEConfig
from hbt_ray.train.losses.whole import Places, Whole

BLOCK_SCORES = 2**21  # 8 MiB of fp32


class InfoNCE:
    """InfoNCE (arXiv 1807.03748), query to passage (Eq. 1 of 2408.10536 with other rows' positives counted as negatives
    too), with the negatives and weights that its settings add.

    A query is to score its own positive above all negatives: all passages but its right answers; with more directions
    the positive also above what else is near (Eq. 1 of GTE, arXiv 2308.03281, as in sentence-transformers):

    - passage-query: all queries that the positive does not answer, and once more the query itself;
    - query-query: the other queries, but those that either's positive answers;
    - passage-passage: from the positive, all passages but right answers and the row's own hard negatives.
    """

    def __init__(self, config: InfoNCEConfig, block_scores: int = BLOCK_SCORES) -> None:
        """`block_scores`: scores held at once, unless one row alone has more; those of a block are computed again for
        the gradient, so that memory does not grow with the square of the batch."""
        self._config = config
        self._block_scores = block_scores

    def __call__(self, whole: Whole, temperature: torch.Tensor) -> torch.Tensor:
        """The loss of each of this rank's rows, fp32 or, for fp64 vectors, fp64 [rows].

        Args:
            temperature: divisor of the cosines, floating [].
        """
        # gathered here, since what a block does is done again for the gradient
        pools = {
            direction: whole.all_queries if direction.endswith("-query") else whole.all_passages
            for direction in self._config.directions
        }
        size = max(1, self._block_scores // sum(map(len, pools.values())))
        row = torch.arange(len(whole.queries), device=whole.queries.device)
        if size >= len(row):
            return self._block(whole, pools, temperature, row)
        parts = [
            checkpoint(self._block, whole, pools, temperature, some, use_reentrant=False) for some in row.split(size)
        ]
        return torch.cat(parts)

    def _block(
        self, whole: Whole, pools: Mapping[Direction, torch.Tensor], temperature: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """The losses of some rows, [rows]; `pools`: where each direction ends, [all queries or passages, width]."""
        config, places = self._config, whole.places
        begins = {"query": whole.queries[rows], "passage": whole.positives[rows]}
        all_cosines = {direction: begins[direction.partition("-")[0]] @ pool.T for direction, pool in pools.items()}
        positive = all_cosines["query-passage"].gather(1, places.positive[rows, None])
        log_sums = []
        for direction, cosines in all_cosines.items():
            left_out = self._left_out(direction, places, rows)
            if config.margin is not None:
                left_out = left_out | (cosines > positive + config.margin)
            if direction in ("query-passage", "passage-query"):
                own = (places.positive if direction == "query-passage" else places.own)[rows, None]
                left_out = left_out.scatter(1, own, False)
            logits = cosines / temperature
            if direction == "query-passage" and config.hardness:
                logits = logits + config.hardness * self._weighted(places, rows, cosines.detach())
            log_sums.append(logits.masked_fill(left_out, float("-inf")).logsumexp(dim=1))
        both = torch.stack(log_sums)
        log_sum = both.logsumexp(dim=0) if config.partition == "joint" else both.mean(dim=0)
        return log_sum - positive[:, 0] / temperature

    def _left_out(self, direction: Direction, places: Places, rows: torch.Tensor) -> torch.Tensor:
        """What is no negative of some rows in a direction, bool [rows, all queries or passages]."""
        own, answers = places.own[rows], places.answers
        if direction == "query-passage":
            return answers.of_queries(own)
        if direction == "passage-query":
            return answers.of_passages(own)
        if direction == "query-query":
            return answers.of_passages(own) | answers.of_queries(own)[:, places.all_positives]
        return answers.of_queries(own) | (places.row_of_passage == own[:, None])

    def _weighted(self, places: Places, rows: torch.Tensor, cosines: torch.Tensor) -> torch.Tensor:
        """The cosines of those negatives that count the more the nearer they are, 0 for others, as `cosines` [rows, all
        passages]: Eq. 5 of LLaVE (arXiv 2503.04812) for those of other rows, EmbeddingGemma's (2509.20354) for a row's
        own hard negatives."""
        own = places.row_of_passage == places.own[rows, None]
        chosen = {"all": torch.ones_like(own), "hard": own, "in-batch": ~own}[self._config.hardness_of]
        return (cosines * chosen).scatter(1, places.positive[rows, None], 0.0)
