"""Which languages are preferred: shares of languages in the heads of lists, and mAP by script."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hbt_ray.evaluation.metrics import macro
from hbt_ray.languages import script

TOP = 10  # documents at the head of a list in which languages are counted


def language_preference(top: np.ndarray, asked: np.ndarray, own: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """How much more of a list's head is in the query's own language than of what is relevant, float64 [queries].

    The share of the query's language among the first documents minus its share among the relevant documents, -1 to 1.
    0 is no preference; above it the query's own language is preferred, below it the others are. NaN for a query without
    relevant documents, and for one in whose language the pool has no document. A list that is empty has a share of 0.

    Multilingual retrievers are known to prefer the query's language (arXiv 2605.07249, whose Language Preference Rate
    looks at the first document of a pool of translations; 2606.18801). Its formula was not to be had. This variant is
    the difference of the two shares that `language_shares` averages, for one query, so that it can be tested.

    Args:
        top: number of the language of each of the first documents, -1 after the end of a list, int [queries, k].
        asked: number of the query's language, -1 where the pool has no document in it, int [queries].
        own: number of relevant documents in the query's language, int [queries].
        relevant: number of relevant documents, found or not, int [queries].
    """
    listed = (top >= 0).sum(axis=1)
    share = (top == asked[:, None]).sum(axis=1, where=top >= 0) / np.maximum(listed, 1)
    with np.errstate(invalid="ignore"):
        preference = share - own / relevant
    return np.where(asked >= 0, preference, np.nan)


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
