"""Every task's files: real ones against their published counts, small ones in the layout that the hub has."""

from __future__ import annotations

import gzip
import json
import lzma
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray.config import UserError
from hbt_ray.encode.corpus import read_texts, scan_corpus
from hbt_ray.evaluation import tasks
from hbt_ray.evaluation.ids import encoded_ids, write_table
from hbt_ray.evaluation.run_file import RunRanker
from hbt_ray.evaluation.tasks.base import CorpusAt, Task
from hbt_ray.storage import trec

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "eval"
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"the evaluation data is not at {DATA}")
WIKIPEDIA = {"ar": 2896, "bn": 411, "de": 305, "en": 799, "es": 648, "fa": 632, "fi": 1271, "fr": 343, "hi": 350,
             "id": 960, "ja": 860, "ko": 213, "ru": 1252, "sw": 482, "te": 828, "th": 733, "yo": 119,
             "zh": 393}  # fmt: skip
TYDI = {"ar": (921, 842), "bn": (113, 105), "en": (440, 429), "fi": (782, 634), "id": (565, 514), "ko": (276, 228),
        "ru": (812, 778), "sw": (499, 357), "te": (669, 601)}  # fmt: skip


def languages(table: Any) -> dict[str, int]:
    return dict(Counter(table["lang"].to_pylist()))


def put(path: Path, *lines: Any) -> None:
    """Write lines, those that are no text as JSON; compressed as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@real
def test_counts_of_the_squad_family() -> None:
    romanian = tasks.load_task("xquad", str(DATA / "xquad"))
    assert (languages(romanian.queries), languages(romanian.documents)) == ({"ro": 1190}, {"ro": 240})
    tydiqa = tasks.load_task("tydiqa", str(DATA / "tydiqa_goldp_dev"))
    assert languages(tydiqa.queries) == {language: queries for language, (queries, _) in TYDI.items()}
    assert languages(tydiqa.documents) == {language: passages for language, (_, passages) in TYDI.items()}
    assert set(tydiqa.answers) == set(tydiqa.queries["item"].to_pylist())
    mlqa = tasks.load_task("mlqa", str(DATA / "mlqa_dev"))
    assert {language for answers in mlqa.answers.values() for language in answers} == set(languages(mlqa.queries))
    assert languages(mlqa.queries) == {"ar": 517, "de": 512, "en": 1148, "es": 500, "hi": 507, "vi": 511, "zh": 504}
    pairs = Counter((query[:2], document[:2]) for query, found in mlqa.relevant.items() for document in found)
    assert (len(pairs), sum(pairs.values())) == (49, 15_747)
    with lzma.open(DATA / "mlqa_dev" / "dev-context-hi-question-es.json.xz") as file:
        paragraphs = [paragraph for article in json.load(file)["data"] for paragraph in article["paragraphs"]]
    assert pairs["es", "hi"] == sum(len(paragraph["qas"]) for paragraph in paragraphs)


@real
def test_counts_of_wikipedia_topics(tmp_path: Path) -> None:
    with tarfile.open(DATA / "miracl_mrtydi_topics_qrels.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    miracl = tasks.load_task("miracl", str(tmp_path), corpus=str(tmp_path))
    assert (languages(miracl.queries), sum(WIKIPEDIA.values())) == (WIKIPEDIA, 13_495)
    assert sum(map(len, miracl.judgements.values())) == 130_408  # lines of the files
    assert {grade for grades in miracl.judgements.values() for grade in grades.values()} == {0, 1}
    assert all(miracl.relevant.values())
    mrtydi = tasks.load_task("mrtydi", str(tmp_path), corpus=str(tmp_path))
    assert len(languages(mrtydi.queries)) == 11
    assert (len(mrtydi.queries), sum(map(len, mrtydi.judgements.values()))) == (8_661, 10_105)


def test_squad_in_the_hubs_parquet(tmp_path: Path) -> None:
    rows = {"id": ["1", "2"], "question": ["Wer?", "Wo?"], "context": ["Hier.", "Hier."]}
    for folder in ("xquad.de", "MLQA.de.en", "secondary_task"):
        (tmp_path / folder).mkdir()
    pq.write_table(pa.table(rows), tmp_path / "xquad.de/validation-00000-of-00001.parquet")
    task = tasks.load_task("xquad", str(tmp_path / "xquad.de"))
    assert task.queries["id"].to_pylist() == ["de:1", "de:2"]
    assert task.relevant == {"de:1": ("de:0",), "de:2": ("de:0",)}
    pq.write_table(pa.table(rows), tmp_path / "MLQA.de.en/test-00000-of-00001.parquet")
    task = tasks.load_task("mlqa", str(tmp_path / "MLQA.*/test-*.parquet"))
    assert task.relevant == {"en:1": ("de:0",), "en:2": ("de:0",)}
    assert task.answers == {}
    answers = [{"text": ["Hier", "hier", "Hier"], "answer_start": [0, 0, 0]}, {"text": [], "answer_start": []}]
    pq.write_table(pa.table(rows | {"answers": answers}), tmp_path / "MLQA.de.en/test-00000-of-00001.parquet")
    task = tasks.load_task("mlqa", str(tmp_path / "MLQA.*/test-*.parquet"))
    assert task.answers == {"1": {"de": ("Hier", "hier")}}  # in the language of the passage
    of_languages = rows | {"id": ["bengali-7-0", "korean-8-0"]}
    pq.write_table(pa.table(of_languages), tmp_path / "secondary_task/validation-00000-of-00001.parquet")
    task = tasks.load_task("tydiqa", str(tmp_path / "secondary_task/validation-*.parquet"))
    assert task.relevant == {"bn:bengali-7-0": ("bn:0",), "ko:korean-8-0": ("ko:0",)}


def test_answers_in_squads_json(tmp_path: Path) -> None:
    """One question has two answers and an empty one, one has none, as in SQuAD 2.0."""
    answers = [{"text": "Ich", "answer_start": 0}, {"text": "ich selbst"}, {"text": ""}]
    asked = [{"id": "1", "question": "Wer?", "answers": answers}, {"id": "2", "question": "Wo?"}]
    put(tmp_path / "xquad.de.json", {"data": [{"paragraphs": [{"context": "Ich selbst.", "qas": asked}]}]})
    assert tasks.load_task("xquad", str(tmp_path)).answers == {"1": {"de": ("Ich", "ich selbst")}}


def miracl(folder: Path) -> Task:
    put(folder / "miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv", "1\tNani?", "2\tLini?")
    put(folder / "miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv", "1\tQ0\t7#0\t1", "1\tQ0\t7#1\t0", "2\tQ0\t7#0\t0")
    put(folder / "miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-train.tsv", "3\tNani?")
    corpus = folder / "corpus"
    put(corpus / "miracl-corpus-v1.0-sw/docs-0.jsonl.gz", {"docid": "7#0", "title": "Saba", "text": "Saba ni namba."})
    return tasks.load_task("miracl", str(folder), corpus=str(corpus))


def test_wikipedia_as_on_the_hub(tmp_path: Path) -> None:
    task = miracl(tmp_path / "miracl")
    assert task.judgements == {"sw:1": {"sw:7#0": 1, "sw:7#1": 0}, "sw:2": {"sw:7#0": 0}}
    assert task.relevant == {"sw:1": ("sw:7#0",), "sw:2": ()}
    assert task.documents == CorpusAt(str(tmp_path / "miracl" / "corpus"))
    line = {"query_id": "5", "query": "Nani?", "positive_passages": [{"docid": "9#1", "title": "", "text": ""}]}
    put(tmp_path / "mrtydi-v1.1-swahili/test.jsonl.gz", line)
    assert tasks.load_task("mrtydi", str(tmp_path), corpus=str(tmp_path)).judgements == {"sw:5": {"sw:9#1": 1}}


def beir(folder: Path) -> str:
    put(folder / "queries.jsonl", {"_id": "q1", "text": "what"}, {"_id": "q2", "text": "who"})
    put(folder / "corpus.jsonl", {"_id": "d1", "title": "One", "text": "text"}, {"_id": "d2", "text": "other"})
    put(folder / "qrels/dev.tsv", "query-id\tcorpus-id\tscore", "q2\td2\t1")
    put(folder / "qrels/test.tsv", "query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t0")
    return str(folder)


def test_beir_folders(tmp_path: Path) -> None:
    folder = beir(tmp_path / "beir")
    task = tasks.load_task(f"beir:{folder}", language="de")
    assert task.judgements == {"de:q1": {"de:d1": 2, "de:d2": 0}}
    assert (task.queries["text"].to_pylist(), task.documents) == (["what"], CorpusAt(f"{folder}/corpus.jsonl", "de"))
    marco = tasks.load_task("msmarco", folder)  # its dev set
    assert (marco.judgements, marco.headline) == ({"en:q2": {"en:d2": 1}}, ("mrr@10", "recall@1000"))
    (tmp_path / "beir/qrels/dev.tsv").unlink()
    put(tmp_path / "beir/qrels/dev.jsonl", {"query-id": "q1", "corpus-id": "d1", "score": 1.0})
    assert tasks.load_task("msmarco", folder).judgements == {"en:q1": {"en:d1": 1}}


def test_a_query_with_half_a_character(tmp_path: Path) -> None:
    folder = beir(tmp_path / "beir")
    queries = tmp_path / "beir/queries.jsonl"
    queries.write_text(queries.read_text() + '{"_id": "half", "text": "half a sign \\ud83d"}\n')
    number = len(queries.read_text().splitlines())
    with pytest.raises(UserError, match=rf"queries\.jsonl line {number} is not UTF-8: half a surrogate pair"):
        tasks.load_task(f"beir:{folder}", language="de")


def test_mmarco_as_on_the_hub(tmp_path: Path) -> None:
    put(tmp_path / "qrels.dev.small.tsv", "4\t0\t8\t1")
    for name in ("german", "vietnamese"):
        put(tmp_path / f"google/queries/dev/{name}_queries.dev.small.tsv", "4\twas?")
        put(tmp_path / f"google/queries/dev/{name}_queries.dev.tsv", "4\twas?", "5\two?")
    task = tasks.load_task("mmarco", str(tmp_path), corpus=str(tmp_path))
    assert task.judgements == {"de:4": {"de:8": 1}, "vi:4": {"vi:8": 1}}
    assert task.queries["item"].to_pylist() == ["4", "4"]


def test_neuclir_as_on_the_hub(tmp_path: Path) -> None:
    put(tmp_path / "news.eng.tsv", "1\twhat", "2\twho")
    put(tmp_path / "qrels.mlir.gains.txt", "1 0 a 3", "1 0 b 0")
    put(tmp_path / "qrels.fas.gains.txt", "1 0 a 3", "2 0 x 1")
    put(tmp_path / "qrels.rus.gains.txt", "1 0 b 0")
    put(tmp_path / "qrels.zho.gains.txt", "2 0 y 1")
    task = tasks.load_task("neuclir", str(tmp_path), corpus=str(tmp_path))
    assert (task.judgements, task.settings) == ({"en:1": {"fa:a": 3, "ru:b": 0}}, ("multilingual",))


def test_mkqa_as_published(tmp_path: Path) -> None:
    answer = {"type": "entity", "entity": "Q1", "text": "New York", "aliases": ["NYC", None]}
    line = {"example_id": 7, "query": "where", "queries": {"en": "where", "zh_cn": "哪里"}, "answers": {"en": [answer]}}
    no_string = line | {"example_id": 8, "answers": {"en": [{"type": "binary", "entity": None, "text": "yes"}]}}
    put(tmp_path / "mkqa.jsonl.gz", line, no_string)
    task = tasks.load_task("mkqa", str(tmp_path / "mkqa.jsonl.gz"), corpus=str(tmp_path))
    assert task.queries["id"].to_pylist() == ["en:7", "zh_cn:7"]
    assert task.answers == {"7": {"en": ("New York", "NYC")}}
    assert (task.documents, task.judgements) == (CorpusAt(str(tmp_path), "en"), {})


def test_languages_have_one_spelling_whatever_the_files_say(tmp_path: Path) -> None:
    rows = {"id": ["1", "2"], "lang": ["pt-BR", "zho_Hans"], "text": ["a", "b"]}
    pq.write_table(pa.table(rows), tmp_path / "documents.parquet")
    pq.write_table(pa.table({**rows, "item": ["1", "2"]}), tmp_path / "queries.parquet")
    task = tasks.load_task("world-facts", str(tmp_path))
    assert task.relevant == {"pt:1": ("pt:1",), "zh:2": ("zh:2",)}
    assert (languages(task.queries), languages(task.documents)) == ({"pt": 1, "zh": 1}, {"pt": 1, "zh": 1})
    put(tmp_path / "beir/queries.jsonl", {"_id": "q", "text": "?"})
    put(tmp_path / "beir/corpus.jsonl", {"_id": "d", "text": "."})
    put(tmp_path / "beir/qrels/test.tsv", "q\td\t1")
    assert tasks.load_task(f"beir:{tmp_path}/beir", language="PT_br").relevant == {"pt:q": ("pt:d",)}


def test_ids_that_a_table_made_floats_are_whole_numbers_again(tmp_path: Path) -> None:
    rows = {"id": pa.array([1.0, 2.0]), "lang": ["de", "de"], "text": ["a", "b"]}
    pq.write_table(pa.table(rows), tmp_path / "documents.parquet")
    pq.write_table(pa.table({**rows, "item": pa.array([2, 1])}), tmp_path / "queries.parquet")
    assert tasks.load_task("world-facts", str(tmp_path)).relevant == {"de:1": ("de:2",), "de:2": ("de:1",)}
    pq.write_table(pa.table({**rows, "id": pa.array([1.5, 2.0])}), tmp_path / "documents.parquet")
    with pytest.raises(UserError, match="documents.parquet: column id has fractions, which are no ids"):
        tasks.load_task("world-facts", str(tmp_path))


def test_texts_that_are_no_utf8_are_one_line(tmp_path: Path) -> None:
    broken = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": ["1", "2"], "lang": ["de", "de"], "text": broken}), tmp_path / "documents.parquet")
    with pytest.raises(UserError, match="documents.parquet: column text is string, not strings in UTF-8"):
        tasks.load_task("world-facts", str(tmp_path))


@pytest.mark.parametrize("text", [0, False, [], {}, 1.5])
def test_a_text_that_is_no_string_is_one_line(tmp_path: Path, text: Any) -> None:
    put(tmp_path / "queries.jsonl", {"_id": "q", "text": text})
    put(tmp_path / "corpus.jsonl", {"_id": "d", "text": "."})
    put(tmp_path / "qrels/test.tsv", "q\td\t1")
    with pytest.raises(UserError, match=r"queries\.jsonl line 1 is no query: it needs _id and text"):
        tasks.load_task(f"beir:{tmp_path}")


def test_two_varieties_of_a_language_in_mkqa_stay_two(tmp_path: Path) -> None:
    answer = {"type": "entity", "text": "New York", "aliases": []}
    line = {
        "example_id": 7,
        "query": "where",
        "queries": {"zh_hk": "邊度", "zh_tw": "哪裡"},
        "answers": {"en": [answer]},
    }
    put(tmp_path / "mkqa.jsonl.gz", line)
    task = tasks.load_task("mkqa", str(tmp_path / "mkqa.jsonl.gz"), corpus=str(tmp_path))
    assert task.queries["id"].to_pylist() == ["en:7", "zh_hk:7", "zh_tw:7"]
    encoded = scan_corpus(write_table(task.queries, str(tmp_path / "queries")), 9)
    assert sorted(key for part in encoded.parts for texts in read_texts([part]) for key in texts.ids) == sorted(
        encoded_ids(task.queries)
    )


def test_half_a_character_in_any_task_is_one_line_that_names_it(tmp_path: Path) -> None:
    line = {"link": "l", "question_number": 1, "flores_passage": "P.", "question": "Q \ud83d"}
    put(tmp_path / "deu_Latn.jsonl", line)
    with pytest.raises(UserError, match="^query 'de:l#1' is not UTF-8: half a surrogate pair is no character$"):
        tasks.load_task("belebele", str(tmp_path))


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_byte_order_marks_in_what_a_task_reads(tmp_path: Path, ending: str, pack: Any) -> None:
    mark = b"\xef\xbb\xbf"
    files = {
        f"queries.jsonl{ending}": pack(mark + b'{"_id": "q1", "text": "?"}\n{"_id": "q2", "text": "!"}\n'),
        f"corpus.jsonl{ending}": pack(mark + b'{"_id": "d1", "text": "."}\n'),
        "qrels/test.tsv": mark + b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td1\t0\n",
    }
    for name, data in files.items():
        (tmp_path / "beir" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "beir" / name).write_bytes(data)
    task = tasks.load_task(f"beir:{tmp_path}/beir")
    assert (task.judgements, len(task.queries)) == ({"en:q1": {"en:d1": 1}, "en:q2": {"en:d1": 0}}, 2)
    (tmp_path / f"x.trec{ending}").write_bytes(pack(mark + b"en:q1 Q0 en:d1 1 2.5 t\nen:q2 Q0 en:d1 1 2.5 t\n"))
    assert RunRanker(f"{tmp_path}/x.trec{ending}").queries == {"en:q1", "en:q2"}
    (tmp_path / "qrels.tsv").write_bytes(mark + b"q1 0 d1 1\n")
    assert list(trec.read_qrels(str(tmp_path / "qrels.tsv"))) == [("q1", "d1", 1)]


def test_the_languages_of_a_run_may_have_any_spelling(tmp_path: Path) -> None:
    (tmp_path / "x.trec").write_text("pt-BR:q Q0 PT:d 1 2 t\nzh_hk:q Q0 zho_Hans:d 1 2 t\n")
    found = RunRanker(str(tmp_path / "x.trec"), {"pt:q", "zh_hk:q"})
    assert (set(found.queries), set(found.languages)) == ({"pt:q", "zh_hk:q"}, {"pt", "zh"})
    assert found.search_languages(np.array(["pt:q"], dtype=object), 3)["pt"].ids.tolist() == [["pt:d"]]


def test_belebele_as_on_the_hub(tmp_path: Path) -> None:
    line = {"link": "https://x/y", "question_number": 1, "flores_passage": "P.", "question": "Q?", "mc_answer1": "A"}
    for code in ("arb_Arab", "arz_Arab"):
        put(tmp_path / f"{code}.jsonl", line, line | {"question_number": 2})
    task = tasks.load_task("belebele", str(tmp_path))
    assert languages(task.documents) == {"ar": 1, "arz": 1}
    assert task.relevant["ar:https://x/y#2"] == ("ar:https://x/y", "arz:https://x/y")


def test_xpqa_as_on_the_hub(tmp_path: Path) -> None:
    put(
        tmp_path / "test.csv",
        "lang,question,question_en,answer,context,label",
        'de,Wie groß?,How big?,Zwei Meter,"A. <strong>Two, metres</strong> B.",2',
        "de,Wie groß?,How big?,Rot,<strong>Red</strong>,0",
        "pl,Jak duży?,How big?,Dwa metry,<strong>2 m</strong>,2",
    )
    task = tasks.load_task("xpqa", str(tmp_path))
    assert isinstance(task.documents, pa.Table)
    texts = dict(zip(task.documents["id"].to_pylist(), task.documents["text"].to_pylist(), strict=True))
    asked = dict(zip(task.queries["text"].to_pylist(), task.queries["id"].to_pylist(), strict=True))
    found = {text: [texts[key] for key in task.relevant[query]] for text, query in asked.items()}
    assert found == {
        "How big?": ["Zwei Meter", "Dwa metry"],
        "Wie groß?": ["Zwei Meter", "Two, metres"],
        "Jak duży?": ["Dwa metry", "2 m"],
    }
    # one pool a pair of languages, as in MTEB
    pools = {(query[:2], key.partition(":")[0]) for query, keys in task.relevant.items() for key in keys}
    assert pools == {("de", "de"), ("de", "en-x-de"), ("pl", "pl"), ("pl", "en-x-pl"), ("en", "de"), ("en", "pl")}
    assert languages(task.documents) == {"de": 1, "en-x-de": 1, "pl": 1, "en-x-pl": 1}
    assert len(set(task.queries["item"].to_pylist())) == 1


def test_a_hub_source_is_read_at_the_revision_that_is_pinned() -> None:
    from hbt_ray.evaluation.tasks.definition import _at

    assert _at("hf://datasets/jinaai/xpqa/test.csv", "c99d") == "hf://datasets/jinaai/xpqa@c99d/test.csv"
    assert _at("hf://datasets/google/xquad", "51ad") == "hf://datasets/google/xquad@51ad"
    pinned = {name for name, of in tasks.DEFINITIONS.items() if of.revision or of.corpus_revision}
    assert pinned == {"xquad", "miracl", "mrtydi", "msmarco", "mkqa", "belebele", "xpqa"}
    mteb = pytest.importorskip("mteb")
    for task, theirs in (("msmarco", "MSMARCO"), ("mkqa", "NQ")):
        of = tasks.DEFINITIONS[task]
        assert (of.revision or of.corpus_revision) == mteb.get_task(theirs).metadata.dataset["revision"]


def test_judged_queries_without_text(tmp_path: Path) -> None:
    put(tmp_path / "queries.jsonl", {"_id": "q1", "text": "?"}, {"_id": "q2", "text": None}, {"_id": "q4"})
    put(tmp_path / "corpus.jsonl", {"_id": "d", "text": "."})
    put(tmp_path / "qrels/test.tsv", "q1\td\t1", "q2\td\t1", "q3\td\t1")
    message = "2 queries have judgements and no text, for example en:q2; --missing-queries skip leaves them out"
    with pytest.raises(UserError, match=message):
        tasks.load_task(f"beir:{tmp_path}")
    task = tasks.load_task(f"beir:{tmp_path}", skip_queries=True)
    assert (task.judgements, len(task.queries)) == ({"en:q1": {"en:d": 1}}, 1)
    assert task.left_out["missing_queries"] == 2


def test_documents_of_one_id_in_a_table(tmp_path: Path) -> None:
    rows = {"id": ["1", "2", "1"], "lang": ["de", "de", "de"], "text": ["a", "b", "c"]}
    pq.write_table(pa.table(rows), tmp_path / "documents.parquet")
    queries = {name: values[:1] for name, values in {**rows, "item": ["1"]}.items()}
    pq.write_table(pa.table(queries), tmp_path / "queries.parquet")
    with pytest.raises(UserError, match="document de:1 occurs 2 times; --duplicates last takes the last"):
        tasks.load_task("world-facts", str(tmp_path))
    task = tasks.load_task("world-facts", str(tmp_path), duplicates="last")
    assert isinstance(task.documents, pa.Table)
    assert task.documents.select(["id", "text"]).to_pylist() == [
        {"id": "de:2", "text": "b"},
        {"id": "de:1", "text": "c"},
    ]
    assert task.left_out["duplicate_documents"] == 1


def test_xpqa_with_a_column_of_candidates(tmp_path: Path) -> None:
    put(tmp_path / "test.csv", "lang,question,question_en,answer,candidate", "de,Wie?,How?,So.,Thus.")
    task = tasks.load_task("xpqa", str(tmp_path))
    assert isinstance(task.documents, pa.Table)
    pairs = zip(task.documents["lang"].to_pylist(), task.documents["text"].to_pylist(), strict=True)
    assert set(pairs) == {("de", "So."), ("en-x-de", "Thus.")}


def test_pooled_parallel_groups(tmp_path: Path) -> None:
    table = {"group": ["g", "g", "h"], "lang": ["de", "en", "en"], "query": ["Was?", "What?", "Who?"],
             "passage": ["Das.", "That.", "He."]}  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    task = tasks.load_task("pooled", str(tmp_path))
    assert task.relevant == {"de:g": ("de:0", "en:0"), "en:g": ("de:0", "en:0"), "en:h": ("en:1",)}
    table["group"][2] = "g"
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"rows.parquet row 2: question en:g has another text elsewhere"):
        tasks.load_task("pooled", str(tmp_path))


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("topics/topics.miracl-v1.0-sw-dev.tsv", "nani", r"sw-dev.tsv line 1 is no topic: 'nani' is not an id, a tab"),
        ("topics/topics.miracl-v1.0-sw-dev.tsv", "1\tA", "miracl: 1 queries have judgements and no text.* sw:2"),
        ("qrels/qrels.miracl-v1.0-sw-dev.tsv", "1 Q0 7", r"sw-dev.tsv line 1 is no judgement: '1 Q0 7' is not topic"),
        ("qrels/qrels.miracl-v1.0-sw-dev.tsv", "1 Q0 7 x", r"line 1: the grade is 'x', not a whole number"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, file: str, line: str, message: str) -> None:
    miracl(tmp_path)
    put(tmp_path / "miracl-v1.0-sw" / file, line)
    with pytest.raises(UserError, match=message):
        tasks.load_task("miracl", str(tmp_path), corpus=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "xquad",
            {"data": "/nowhere"},
            "xquad: no input at /nowhere; its files are at hf://datasets/google/xquad",
        ),
        ("xquad", {}, "xquad: .*; its files are at hf://datasets/google/xquad, and --data names a copy"),
        ("pooled", {}, "pooled: --data has to name a folder of parquet files with columns group, lang, query, passage"),
        (
            "mlqa-r",
            {},
            "mlqa-r: --data has to name the folder https://github.com/google-research-datasets/lareqa/tree/354d67d",
        ),
        ("beir:/nowhere", {}, "beir:/nowhere: no input at /nowhere"),
        ("xquad", {"text": "sentence+context"}, r"--text sentence\+context: xquad has sentence only"),
    ],
)
def test_data_that_is_not_there(name: str, changes: dict[str, Any], message: str) -> None:
    """The tests run offline."""
    with pytest.raises(UserError, match=message):
        tasks.load_task(name, **changes)


def test_a_corpus_that_is_not_there(tmp_path: Path) -> None:
    miracl(tmp_path)
    with pytest.raises(UserError, match="its files are at hf://datasets/miracl/miracl-corpus, and --corpus names"):
        tasks.load_task("miracl", str(tmp_path))
