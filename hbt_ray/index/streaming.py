"""Exact search straight from the embedding parts: one pass over them in bounded memory, no index built.

For corpora larger than memory. Ids, scores and order are those of a `Searcher` over the same embeddings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import ray

from hbt_ray import storage
from hbt_ray.index import exact, parts
from hbt_ray.index.flat import Flat
from hbt_ray.index.found import Found, combine
from hbt_ray.index.search import Hits, checked, hits, pool

BLOCK_BYTES = 128 * 2**20


def search_languages(
    source: str,
    queries: np.ndarray,
    k: int,
    languages: Sequence[str] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> dict[str, Hits]:
    """The best documents of each query in each language's own pool: lists for `search.merge`.

    One Ray task a CPU reads its share of the parts, a block at a time, and keeps the best so far.

    Args:
        source: folder written by `encode` [URI].
        queries: fp32 [queries, width].
        k: length of the lists; shorter where the language has fewer documents.
        languages: those searched in; all when None.
        block_bytes: of the vectors that a task holds, as fp32.

    Raises:
        UserError: the embeddings are unfinished, empty or corrupt, k is 0, a language has no document, or the queries'
            width or a number in them is wrong.
    """
    source = storage.absolute(source)
    manifest = parts.read_manifest(source)
    chosen = pool(manifest["rows_by_language"], languages)
    reference = ray.put(checked(queries, manifest["width"], k))
    wanted = [part for part in manifest["parts"] if part["language"] in chosen]
    groups = parts.cut(wanted, max(1, block_bytes // (4 * manifest["width"])))
    task = ray.remote(_search).options(scheduling_strategy="SPREAD")
    shares = _share(groups, int(ray.cluster_resources().get("CPU", 1)))
    answers = ray.get([task.remote(source, share, reference, k) for share in shares])
    return {
        language: hits(combine([answer[language] for answer in answers if language in answer], k))
        for language in chosen
    }


def _search(source: str, groups: Sequence[parts.Group], queries: np.ndarray, k: int) -> dict[str, Found]:
    """The best documents in the groups of each language."""
    block = np.empty((max(group.rows for group in groups), queries.shape[1]), dtype=np.float32)
    best: dict[str, Found] = {}
    for group in groups:
        vectors = block[: group.rows]
        ids = parts.read(source, group, vectors)
        found = Flat(vectors, ids, exact.largest_norm(vectors)).best(queries, k)
        earlier = best.get(group.language)
        best[group.language] = found if earlier is None else combine([earlier, found], k)
    return best


def _share(groups: Sequence[parts.Group], count: int) -> list[list[parts.Group]]:
    """Consecutive groups in at most `count` shares of about equal rows, none of them empty."""
    total, before = max(1, sum(group.rows for group in groups)), 0
    shares: dict[int, list[parts.Group]] = defaultdict(list)
    for group in groups:
        shares[before * count // total].append(group)
        before += group.rows
    return list(shares.values())
