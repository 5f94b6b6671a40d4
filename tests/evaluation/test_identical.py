"""What is no result of a query since it is the query itself, beside what MTEB's own evaluator makes of the same lists.

Needs no cluster: BM25 and runs rank without one, and so does an index that counts by brute force here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hbt_ray.config import EncoderConfig, EvaluateConfig, Setting, UserError
from hbt_ray.evaluation import bm25, rankings, tasks
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.evaluation.tasks.beir import BEIR
from hbt_ray.search.ranking import Above, Hits

CUTS = (1, 3, 10, 100)
WORDS = [f"w{n}" for n in range(12)]


def folder(path: Path, seed: int = 0, documents: int = 40) -> Path:
    """ArguAna-like: most queries are documents, some judge themselves, and texts are short, so that many scores tie."""
    rng = np.random.default_rng(seed)
    texts = {f"d{n}": " ".join(rng.choice(WORDS, 4)) for n in range(documents)}
    queries = {key: texts[key] for key in list(texts)[::2]} | {
        f"q{n}": " ".join(rng.choice(WORDS, 3)) for n in range(4)
    }
    (path / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", texts), ("queries", queries)):
        (path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in rows.items())
        )
    lines = ["query-id\tcorpus-id\tscore"]
    for number, query in enumerate(queries):
        relevant = {f"d{n}" for n in rng.choice(documents, 3, replace=False)} | (
            {query} & texts.keys() if number % 5 == 0 else set()
        )
        lines += [f"{query}\t{document}\t{int(rng.integers(1, 3))}" for document in sorted(relevant)]
    (path / "qrels/test.tsv").write_text("\n".join(lines) + "\n")
    return path


def theirs(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> dict[str, float]:
    """What MTEB's evaluator says of lists, means over queries."""
    evaluator = pytest.importorskip("mteb._evaluators").RetrievalEvaluator
    found = evaluator.evaluate(
        evaluator.__new__(evaluator), {k: dict(v) for k, v in qrels.items()}, run, CUTS, ignore_identical_ids=True
    )
    return {
        "ndcg@10": found.ndcg["NDCG@10"],
        "recall@10": found.recall["Recall@10"],
        "recall@100": found.recall["Recall@100"],
        "map": found.map["MAP@100"],
    }


def bare(grades: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {q.partition(":")[2]: {d.partition(":")[2]: g for d, g in of.items()} for q, of in grades.items()}


def lists(uri: Path) -> dict[str, dict[str, float]]:
    run: dict[str, dict[str, float]] = {}
    for line in uri.read_text().splitlines():
        query, _, document, _, score, _ = line.split()
        run.setdefault(query.partition(":")[2], {})[document.partition(":")[2]] = float(score)
    return run


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [(), ("monolingual", "multilingual")])
def test_bm25_and_its_run_equal_mtebs_evaluator(tmp_path: Path, seed: int, settings: Sequence[str]) -> None:
    data = folder(tmp_path / "data", seed)
    model = EncoderConfig(model="bm25")
    config = {"task": f"beir:{data}", "encoder": model, "settings": settings}
    found = evaluate(EvaluateConfig(**config, out=str(tmp_path / "out")))
    task = tasks.load_task(f"beir:{data}")
    # the lists before anything was left out
    whole = bm25.Bm25(bm25.collect(task.documents), pooled=False)
    keys = task.queries["id"].to_pylist()
    hits = whole.search_languages(np.array(task.queries["text"].to_pylist(), dtype=object), 40)["en"]
    run = {
        key.partition(":")[2]: {d.partition(":")[2]: float(s) for d, s in zip(ids, scores, strict=True)}
        for key, ids, scores in zip(keys, hits.ids.tolist(), hits.scores.tolist(), strict=True)
    }
    (tmp_path / "whole.trec").write_text(
        "".join(f"en:{q} Q0 en:{d} 1 {s!r} t\n" for q, of in run.items() for d, s in of.items())
    )
    expected = theirs(bare(task.judgements), run)
    given = evaluate(EvaluateConfig(**config, out=str(tmp_path / "given"), run=str(tmp_path / "whole.trec")))
    for one, name in ((found, "out"), (given, "given")):
        for setting in one["settings"].values():
            measures = {
                "map": setting["map"],
                **{name: setting["measures"][name] for name in expected if name != "map"},
            }
            assert measures == pytest.approx(expected, abs=1e-5)  # MTEB rounds to 5 digits
        assert one["protocol"]["ignore_identical_ids"] is True
        listed = lists(tmp_path / name / "run.monolingual.trec")
        assert all(
            query not in of and len(of) == 40 - (query in {f"d{n}" for n in range(40)}) for query, of in listed.items()
        )
    assert found["left_out"]["identical_ids"] == given["left_out"]["identical_ids"] == 20


def test_documents_with_the_id_of_a_query_are_told_of_and_can_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = folder(tmp_path / "data")
    task = tasks.load_task(f"beir:{data}")
    config = {"task": f"beir:{data}", "encoder": EncoderConfig(model="bm25")}
    left = evaluate(EvaluateConfig(**config, out=str(tmp_path / "left")))
    own = sum(query in relevant for query, relevant in task.relevant.items())
    assert f"20 queries have the id of a document, which is no result of theirs, though {own} were" in caplog.text
    caplog.clear()
    kept = evaluate(EvaluateConfig(**config, identical_ids="keep", out=str(tmp_path / "kept")))
    assert not caplog.text
    assert (left["protocol"]["ignore_identical_ids"], kept["protocol"]["ignore_identical_ids"]) == (True, False)
    assert kept["left_out"]["identical_ids"] == 0
    assert any(query in of for query, of in lists(tmp_path / "kept/run.monolingual.trec").items())
    with pytest.raises(UserError, match="another run"):
        evaluate(EvaluateConfig(**config, identical_ids="keep", out=str(tmp_path / "left")))


def test_duplicates_and_missing_queries_equal_mtebs_evaluator(tmp_path: Path) -> None:
    data = folder(tmp_path / "data")
    lines = (data / "corpus.jsonl").read_text()
    first = json.loads(lines.splitlines()[1])
    (data / "corpus.jsonl").write_text(json.dumps({**first, "text": "w0 w1 w2"}) + "\n" + lines)
    with (data / "qrels/test.tsv").open("a") as file:
        file.write("gone\td1\t1\n")
    config = {"task": f"beir:{data}", "encoder": EncoderConfig(model="bm25")}
    with pytest.raises(UserError, match=r"1 queries have judgements and no text, .*--missing-queries skip"):
        evaluate(EvaluateConfig(**config, out=str(tmp_path / "a")))
    with pytest.raises(UserError, match="document en:d1 occurs twice: --duplicates last"):
        evaluate(EvaluateConfig(**config, missing_queries="skip", out=str(tmp_path / "b")))
    options = {"missing_queries": "skip", "duplicates": "last"}
    found = evaluate(EvaluateConfig(**config, **options, out=str(tmp_path / "c")))
    # the same data without the duplicate and the judgement
    plain = evaluate(
        EvaluateConfig(**{**config, "task": f"beir:{folder(tmp_path / 'plain')}"}, out=str(tmp_path / "d"))
    )
    assert found["settings"] == plain["settings"]
    left_out = found["left_out"]
    assert (left_out["missing_queries"], left_out["duplicate_documents"]) == (1, 1)
    assert {key: found["protocol"][key] for key in options} == options


def test_a_task_whose_benchmark_does_not_leave_them_out_keeps_them(tmp_path: Path) -> None:
    assert {name for name, of in tasks.DEFINITIONS.items() if of.ignore_identical_ids} == {"msmarco", "mmarco"}
    assert BEIR.ignore_identical_ids


class Brute:
    """Ranks by given scores [queries, documents], whose queries are their rows; ids descend among equal scores."""

    def __init__(self, scores: np.ndarray, ids: Sequence[str]) -> None:
        self.scores = scores
        self.ids = list(ids)
        self.languages = tuple(sorted({key.partition(":")[0] for key in ids}, reverse=True))

    def _ranked(self, row: int, language: str | None) -> list[tuple[float, str]]:
        pairs = zip(self.scores[row].tolist(), self.ids, strict=True)
        return sorted((pair for pair in pairs if language is None or pair[1].startswith(f"{language}:")), reverse=True)

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        found = {}
        for language in languages or self.languages:
            rows = [self._ranked(row, language)[:k] for row in queries]
            found[language] = Hits(
                np.array([[key for _, key in row] for row in rows], dtype=object),
                np.array([[score for score, _ in row] for row in rows], dtype=np.float32),
            )
        return found

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        rows = []
        for number, (row, keys) in enumerate(zip(queries, relevant, strict=True)):
            order = [key for _, key in self._ranked(row, None)]
            for key in keys:
                above = order[: order.index(key)]
                before = [
                    sum(d.startswith(f"{x}:") for d in above) if x in (languages or self.languages) else 0
                    for x in self.languages
                ]
                rows.append((number, key, self.languages.index(key.partition(":")[0]), before))
        if not rows:
            return Above(
                np.empty(0, int), np.empty(0, object), np.empty(0, int), np.empty((0, len(self.languages)), int)
            )
        numbers, documents, own, counts = zip(*rows, strict=True)
        return Above(np.array(numbers), np.array(documents, dtype=object), np.array(own), np.array(counts))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chosen", [("monolingual",), ("monolingual", "cross-lingual", "multilingual")])
def test_every_measure_is_as_if_the_query_were_not_there(
    tmp_path: Path, seed: int, chosen: tuple[Setting, ...]
) -> None:
    rng = np.random.default_rng(seed)
    ids = [f"{x}:{n}" for x in ("de", "en") for n in range(9)]
    scores = rng.integers(0, 4, (6, len(ids))).astype(np.float32)  # many ties
    keys = ["de:0", "de:1", "en:0", "en:5", "en:q", "de:q"]
    judged = {key: {ids[n]: int(rng.integers(0, 3)) for n in rng.choice(len(ids), 6, replace=False)} for key in keys}
    task = Task("t", table(keys), table(ids), judged, chosen, ("ndcg@10",), ignore_identical_ids=True)
    identical = set(keys) & set(ids)
    rows = np.arange(len(keys))
    found = rankings.rank(task, rows, Brute(scores, ids), 20, identical=identical)
    for row, key in enumerate(keys):  # a corpus without the query, one query at a time
        left = [n for n, one in enumerate(ids) if one != key]
        gone = {key} & judged[key].keys()
        alone = Task("t", table([key]), table([ids[n] for n in left]), {key: judged[key]}, chosen, ("ndcg@10",))
        single = rankings.rank(
            alone, rows[:1], Brute(scores[row : row + 1, left], [ids[n] for n in left]), 20, (), gone
        )
        ours = found.table.filter(np.array(found.table["query"].to_pylist()) == key)
        names = [
            "setting",
            "pool",
            "relevant",
            "ap",
            "ranks",
            "ndcg@10",
            "recall@100",
            "mrr@10",
            "rank_distance",
            "max_rank",
        ]
        order = [("setting", "ascending"), ("pool", "ascending")]
        assert ours.select(names).sort_by(order).to_pylist() == single.table.select(names).sort_by(order).to_pylist()
    for rows_of, hits in [*found.monolingual, *found.multilingual]:
        for row, listed in zip(rows_of, hits.ids.tolist(), strict=True):
            assert keys[row] not in listed


def table(ids: Sequence[str]) -> pa.Table:
    return pa.table({"id": list(ids), "lang": [key[:2] for key in ids], "text": list(ids), "item": list(ids)})
