"""Hard negatives for pairs: what an index ranks high for a query and is no answer to it.

A candidate is left out when it is the positive, another passage of the query's group (its translations) or that of
another pair with the same query, when it has the text of one taken before, or when it scores at least a share of the
positive's score: such a passage is often an unlabelled answer (NV-Retriever, Moreira et al. 2024, arXiv 2407.15831,
section 3, TopK-PercPos).
"""

from __future__ import annotations

import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EncoderConfig, MineConfig, UserError
from hbt_ray.data import inputs, records
from hbt_ray.data.pieces import FilePiece, bundle
from hbt_ray.data.read import checked_records
from hbt_ray.encode import collection, embeddings, texts
from hbt_ray.encode.encode import Identity, encode_corpus
from hbt_ray.model.build import local_models
from hbt_ray.model.encoder import Role
from hbt_ray.search import store
from hbt_ray.search.queries import same_model
from hbt_ray.search.searcher import Searcher

PAIRS = pa.schema(
    [(name, pa.string()) for name in (*records.PAIRS, "group", "source")]
    + [("negatives", pa.list_(pa.string())), ("negative_scores", pa.list_(pa.float32())), ("score", pa.float32())]
)
REASONS = ("own_group", "too_close", "duplicate")  # why a candidate is no negative
NOTHING = "nothing_found"
WHY = {  # why a pair has none: what holds of most of its candidates
    "own_group": "{n} whose candidates are answers of their own group",
    "too_close": "{n} whose candidates score above --share {share:g} of the positive",
    "duplicate": "{n} whose candidates are one text",
    NOTHING: "{n} for which the index gave no candidate",
}
OWNS = ("pairs", "quarantine", "work", "audit.json", "manifest.json")  # what it makes in its folder
log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """A record of the input. `group` is unique to it when the input names none, and then not written."""

    query: str
    query_lang: str
    passage: str
    passage_lang: str
    source: str
    group: str
    grouped: bool


class MinedCandidates(NamedTuple):
    """What is found for one part of the queries.

    Attributes:
        rows: number of each query's pair.
        positives: score of each query's positive, fp32 [queries].
        ids: each query's ranked list, str [queries, depth].
        scores: scores of the list, fp32 [queries, depth].
    """

    rows: list[int]
    positives: np.ndarray
    ids: np.ndarray
    scores: np.ndarray


def mine(config: MineConfig) -> dict[str, Any]:
    """Write the pairs with their negatives, best first, and the scores of both; a finished run is left as it is.

    Negatives that the input has are replaced.

    Returns: `out`, `pairs`, `negatives` (all), `without` (pairs that got none), `why_without` (how many of these by
        what holds of most of their candidates) and `left_out` (records of bitext).

    Raises:
        UserError: the input is unusable, the index is of another model or has no such language, its collection is gone
            or on another file system, or `out` holds another run.
    """
    index, out = config.index, config.out
    storage.refuse_overlap(out, [*config.places, index, *local_models(config.encoder)])
    manifest = store.manifest_of(index)
    source = storage.named_by(index, manifest["embeddings"])
    encoder, identity = config.encoder, same_model(config.encoder, manifest)
    if manifest["role"] != "passage":
        raise UserError(f"{index} is an index of queries")
    there = inputs.find(config, sys.maxsize)  # uncut
    about = {
        **config.model_dump(mode="json", exclude={"out": True, "encoding": set(config.encoding.FREE)}),
        "files": there.fingerprint,
    }
    with storage.claimed(out, "mine", {**about, "index": manifest["checksum"]}, OWNS):
        if not storage.committed(out):
            pairs, left_out = _read(
                there.config, out, [piece for part in bundle(there.files, sys.maxsize) for piece in part.pieces]
            )
            found = _candidates(config, index, out, pairs, encoder, identity)
            audit = _write(config, source, out, pairs, found)
            storage.write_json(storage.join(out, "audit.json"), audit)
            sums = {name: sum(line[name] for line in audit) for name in ("pairs", "negatives", "without")}
            why = {name: sum(line["why_without"][name] for line in audit) for name in WHY}
            storage.commit(out, "mined", {**sums, "why_without": why, "left_out": left_out})
            storage.clear(storage.join(out, "work"))
    done = {"why_without": {}, **storage.read_manifest(out, "mined")}
    names = ("pairs", "negatives", "without", "why_without", "left_out")
    return {"out": config.out, **{name: done[name] for name in names}}


def said(done: Mapping[str, Any], config: MineConfig) -> str:
    """One line on the pairs that are left without negatives, and why.

    Args:
        done: `pairs`, `without` and `why_without`, as `mine` returns them.
    """
    why = [WHY[name].format(n=f"{count:,}", share=config.share) for name, count in done["why_without"].items() if count]
    return (
        f"{done['without']:,} of {done['pairs']:,} pairs have no negatives{': ' if why else ''}{', '.join(why)};"
        f" a --depth above {config.depth} looks further down, a higher --share takes closer ones"
    )


def _read(config: MineConfig, out: str, pieces: Iterable[FilePiece]) -> tuple[list[Pair], int]:
    """The good records, and how many of bitext there are, which has no negatives; bad ones go to `quarantine/`."""
    pairs: list[Pair] = []
    bad, left_out = [], 0
    for piece in pieces:
        for batch in checked_records(piece, config):
            bad.append(batch.bad)
            for row in batch.good.to_pylist():
                if row["bitext"]:
                    left_out += 1
                    continue
                group = f"{row['source']}\0{piece.uri}\0{row['row']}" if row["group"] is None else row["group"]
                fields = {name: row[name] for name in (*records.PAIRS, "source")}
                pairs.append(Pair(**fields, group=group, grouped=row["group"] is not None))
    if sum(map(len, bad)):
        storage.write_parquet(storage.join(out, "quarantine", "bad.parquet"), pa.concat_tables(bad))
        log.info("%d rows are in quarantine/", sum(map(len, bad)))
    if not pairs:
        raise UserError(f"no usable pair in {', '.join(config.places) or 'the input'}")
    return pairs, left_out


def _candidates(
    config: MineConfig, index: str, out: str, pairs: Sequence[Pair], encoder: EncoderConfig, identity: Identity
) -> list[MinedCandidates]:
    """The best passages for each query, in parts of one language searched in."""
    side = "passage_lang" if config.negatives_in == "passage" else "query_lang"
    numbers = {passage: row for row, passage in enumerate(dict.fromkeys((p.passage_lang, p.passage) for p in pairs))}

    def encoded(role: Role, rows: Iterable[tuple[int, str, str]]) -> str:
        ids, languages, contents = zip(*rows, strict=True)
        corpus, folder = storage.join(out, "work", f"{role}.parquet"), storage.join(out, "work", role)
        storage.write_parquet(corpus, pa.table({"id": list(map(str, ids)), "lang": languages, "text": contents}))
        settings = EncodeConfig(corpus=corpus, out=folder, role=role, encoder=encoder, encoding=config.encoding)
        encode_corpus(settings, identity)
        return folder

    queries = encoded("query", ((row, getattr(pair, side), pair.query) for row, pair in enumerate(pairs)))
    passages = encoded("passage", ((row, *passage) for passage, row in numbers.items()))
    vectors = embeddings.read_aligned(passages, [f"{language}:{row}" for (language, _), row in numbers.items()])
    found = []
    with Searcher(index, gpus_per_actor=config.encoding.gpus_per_actor) as searcher:
        for part in collection.manifest_of(queries)["parts"]:
            ids, matrix = embeddings.read_part(queries, part)
            rows = [int(key.partition(":")[2]) for key in ids.to_pylist()]
            positive = vectors[[numbers[pairs[row].passage_lang, pairs[row].passage] for row in rows]]
            hits = searcher.search(matrix, config.depth, [part["language"]])
            found.append(MinedCandidates(rows, (matrix * positive).sum(axis=1), hits.ids, hits.scores))
            log.info("searched for %d of %d queries", sum(len(one.rows) for one in found), len(pairs))
    return found


def _write(
    config: MineConfig, source: str, out: str, pairs: Sequence[Pair], found: Sequence[MinedCandidates]
) -> list[dict[str, Any]]:
    """Write the pairs of each part; returns the audit: a line for each language pair."""
    known = texts.of(source, {key for one in found for key in np.unique(one.ids).tolist() if key})
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    same_query: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        answers[pair.source, pair.group].add(pair.passage)
        same_query[pair.query].add(pair.passage)
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    reasons: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    margins: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number, one in enumerate(found):
        rows = []
        for row, positive, ids, scores in zip(one.rows, one.positives.tolist(), one.ids, one.scores, strict=True):
            pair = pairs[row]
            of_languages = pair.query_lang, pair.passage_lang
            candidates = [(known[key], score) for key, score in zip(ids, scores.tolist(), strict=True) if key]
            limit = config.share * positive
            right = answers[pair.source, pair.group] | same_query[pair.query]
            chosen, why = choose(candidates, right, limit, config.negatives)
            counts[of_languages].update(why, pairs=1, negatives=len(chosen), without=not chosen)
            if not chosen:
                reasons[of_languages][max(why, key=lambda name: why[name]) if why else NOTHING] += 1
            margins[of_languages].extend(positive - score for _, score in chosen)
            rows.append({
                **pair._asdict(), "group": pair.group if pair.grouped else None, "score": positive,
                "negatives": [text for text, _ in chosen], "negative_scores": [score for _, score in chosen],
            })  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=PAIRS)
        storage.write_parquet(storage.join(out, "pairs", f"part-{number:05d}.parquet"), table)
    return [
        {
            "query_lang": key[0], "passage_lang": key[1],
            **{name: counts[key][name] for name in ("pairs", "negatives", "without", *REASONS)},
            "why_without": {name: reasons[key][name] for name in WHY},
            "mean_margin": float(np.mean(margins[key])) if margins[key] else None,
        }
        for key in sorted(counts)
    ]  # fmt: skip


def choose(
    candidates: Iterable[tuple[str, float]], answers: set[str], limit: float, most: int
) -> tuple[list[tuple[str, float]], Counter[str]]:
    """The first `most` of ranked (text, score) that can be negatives, and how many before them could not, by reason.

    Args:
        answers: texts of the query's group, and of other pairs with the same query.
        limit: score that a negative stays below.
        most: largest number of negatives.
    """
    chosen: dict[str, float] = {}
    why: Counter[str] = Counter()
    for text, score in candidates:
        if len(chosen) == most:
            break
        if text in answers:
            why["own_group"] += 1
        elif score >= limit:
            why["too_close"] += 1
        elif text in chosen:
            why["duplicate"] += 1
        else:
            chosen[text] = score
    return list(chosen.items()), why
