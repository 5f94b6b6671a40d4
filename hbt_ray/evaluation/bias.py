"""Language bias: how far apart documents that say the same are ranked, and which languages are preferred."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hbt_ray.evaluation.metrics import macro
from hbt_ray.languages import script

TOP = 10  # documents at the head of a list in which languages are counted


def rank_distance(offsets: np.ndarray, ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """The largest minus the smallest rank of a query's relevant documents in the pool of all, float64 [queries].

    NaN for a query with one relevant document, between which and another there is no distance, and for one of whose
    relevant documents some were never found. The language bias is the mean over a language's queries, then over query
    languages (Huang et al. 2023, arXiv 2305.09025).

    Args:
        offsets: query q's documents that were found are those from offsets[q] to offsets[q + 1], int [queries + 1].
        ranks: rank of each document, ascending within a query, int [documents].
        relevant: number of relevant documents of each query, found or not, int [queries].
    """
    whole = (np.diff(offsets) == relevant) & (relevant > 1)
    distance = np.full(len(relevant), np.nan)
    distance[whole] = ranks[offsets[1:][whole] - 1] - ranks[offsets[:-1][whole]]
    return distance


def language_shares(
    asked: Sequence[str], top: Sequence[Sequence[str]], relevant: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Each language's share of the first `TOP` documents of multilingual lists, and of the relevant documents.

    A ranking without bias has both about equal. Shares are those within a query, averaged over the queries of a
    language and then over query languages.

    Args:
        asked: language of each query.
        top: ids of each query's list, best first, as `lang:docid`.
        relevant: ids of each query's relevant documents; a query without any counts for neither share.

    Returns: `top` and `relevant`, each language to share; both have the same languages.
    """
    shares: dict[str, defaultdict[str, list[dict[str, float]]]] = {
        "top": defaultdict(list),
        "relevant": defaultdict(list),
    }
    for language, listed, wanted in zip(asked, top, relevant, strict=True):
        if wanted:
            shares["top"][language].append(_shares(listed[:TOP]))
            shares["relevant"][language].append(_shares(wanted))
    languages = sorted({key for groups in shares.values() for group in groups.values() for one in group for key in one})
    return {
        kind: {
            key: macro(sum(one.get(key, 0.0) for one in group) / len(group) for group in groups.values()) or 0.0
            for key in languages
        }
        for kind, groups in shares.items()
    }


def by_script(pairs: Mapping[tuple[str, str], float | None]) -> dict[str, float | None]:
    """The means over pairs of languages, by whether both are written in one script and by their scripts.

    Args:
        pairs: query language and passage language to mAP.

    Returns: `same`, `different`, and every `Latn-Cyrl` (query's script, passage's) that occurs.
    """
    groups: defaultdict[str, list[float | None]] = defaultdict(list, same=[], different=[])
    for (query, passage), value in pairs.items():
        scripts = script(query), script(passage)
        groups["same" if scripts[0] == scripts[1] else "different"].append(value)
        groups["-".join(scripts)].append(value)
    return {name: macro(values) for name, values in groups.items()}


def _shares(documents: Iterable[str]) -> dict[str, float]:
    counts = Counter(key.partition(":")[0] for key in documents if key)
    return {language: count / counts.total() for language, count in counts.items()}
