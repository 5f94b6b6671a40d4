"""The server as programs ask it: what it answers, what it refuses, and what it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import ray
from served import DOCUMENTS, ROOT, TOKEN, Running

from hbt_ray.config import EncoderConfig, SearchConfig
from hbt_ray.config.serve import BODY_BYTES
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.model.build import build_encoder
from hbt_ray.search.ask import asking

pytestmark = pytest.mark.long
QUERY = "When does the moon shine?"
TEXTS = {f"{language}:{key}": f"{title} {text}" if title else text for language, key, title, text in DOCUMENTS}


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120, trust_env=False) as client:
        yield client


def search(client: httpx.Client, **question: Any) -> dict[str, Any]:
    response = client.post("/search", json={"query": QUERY, **question})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize("name", ["one", "indexed"])
@pytest.mark.parametrize("languages", [[], ["de", "ar"]])
def test_answers_are_those_of_the_search_job(
    client: httpx.Client, served: Path, name: str, languages: list[str]
) -> None:
    config = SearchConfig(index=f"{served}/one-index", query=QUERY, languages=tuple(languages), k=4)
    with asking(config) as answer:
        expected = answer(QUERY)["hits"]
    found = search(client, languages=languages, k=4, collections=[name])["hits"]
    assert len(expected) == 4
    assert [{key: hit[key] for key in expected[0]} for hit in found] == expected


def test_the_search_job_asks_the_server(client: httpx.Client, server: Running, served: Path) -> None:
    given = ["--server", server.url, "--token-file", f"{served}/token", "--collections", "one", "--k", "2"]
    done = subprocess.run(
        [sys.executable, "jobs/search.py", *given, "--query", QUERY], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["hits"] == search(client, collections=["one"], k=2)["hits"]
    done = subprocess.run(
        [sys.executable, "jobs/search.py", "--server", server.url, "--query", QUERY], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "says 401: a request must bring the token" in done.stderr


def test_passages_have_language_direction_text_and_title(client: httpx.Client) -> None:
    hits = search(client, collections=["two"])["hits"]
    assert {hit["id"]: hit["text"] for hit in hits} == TEXTS
    titles = {f"{language}:{key}": title or "" for language, key, title, _ in DOCUMENTS}
    assert {hit["id"]: hit["text"][: hit["title"]] for hit in hits} == titles
    assert {hit["language"]: hit["direction"] for hit in hits} == {"ar": "rtl", "de": "ltr", "en": "ltr"}


def test_lists_of_several_models_are_fused_by_reciprocal_ranks(client: httpx.Client) -> None:
    found = search(client, collections=["two", "one"], k=3)
    whole = {name: search(client, collections=[name])["hits"] for name in ("one", "two")}
    ranks = {name: {hit["id"]: hit["rank"] for hit in hits} for name, hits in whole.items()}
    scores = {key: sum(1 / (60 + places[key]) for places in ranks.values()) for key in TEXTS}
    best = sorted(scores, key=lambda key: (np.float32(scores[key]), key), reverse=True)[:3]
    assert [hit["id"] for hit in found["hits"]] == best
    assert [hit["score"] for hit in found["hits"]] == pytest.approx([scores[key] for key in best])
    assert [one["collection"] for one in found["lists"]] == ["two", "one"]
    for one in found["lists"]:
        assert [hit["id"] for hit in one["hits"]] == [hit["id"] for hit in whole[one["collection"]][:3]]
        for hit in one["hits"]:
            places = {name: ranks[name][hit["id"]] for name in ("two", "one")}
            assert hit["ranks"] == places
            assert hit["rank_distance"] == max(places.values()) - min(places.values())


@pytest.mark.parametrize("role", ["query", "passage"])
def test_vectors_are_the_model_s(client: httpx.Client, served: Path, role: Any) -> None:
    texts = ["moon", "Der Mond scheint in der Nacht"]
    answer = client.post("/embed", json={"texts": texts, "role": role, "model": "two"}).json()
    encoder = build_encoder(EncoderConfig(model=f"{served}/two", precision="fp32")).eval()
    np.testing.assert_allclose(answer["vectors"], encode_texts(encoder, texts, role, 4096), atol=1e-6)


@pytest.mark.parametrize(
    ("path", "question", "status", "sentence"),
    [
        ("/search", {}, 422, "query: Field required"),
        ("/search", {"query": " "}, 422, "query: there is nothing but white space in it"),
        ("/search", {"query": "x" * 4097}, 422, "query: string should have at most 4096 characters"),
        ("/search", {"query": "a", "k": 101}, 422, "k: input should be less than or equal to 100, not 101"),
        ("/search", {"query": "a", "k": 0}, 422, "k: input should be greater than or equal to 1, not 0"),
        ("/search", {"query": "a", "languages": ["fr"]}, 422, "languages: the index has no language fr"),
        ("/search", {"query": "a", "collections": ["x"]}, 422, "collections: there is no x; there are one, two"),
        ("/search", {"query": "a", "depth": 1}, 422, "depth: extra inputs are not permitted"),
        ("/search", b"{", 422, "the body is no JSON object"),
        ("/search", b'{"query": "\\ud800"}', 422, "query: "),
        ("/search", b'{"query": "\\u0000"}', 422, "query: '\\x00' has a character that no text can have"),
        ("/search", b" " * (BODY_BYTES + 1), 413, "a request has at most 1,048,576 bytes"),
        ("/embed", {"texts": ["a"]}, 422, "model: say which; there are one, two"),
        ("/embed", {"texts": ["a"] * 65, "model": "one"}, 422, "texts: list should have at most 64 items"),
        ("/nowhere", {}, 404, "Not Found"),
    ],
)
def test_a_bad_request_gets_one_sentence(
    client: httpx.Client, path: str, question: Any, status: int, sentence: str
) -> None:
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert response.json()["error"].startswith(sentence)
    assert len(response.json()["error"]) < 300


def test_a_body_without_a_length_is_bounded_too(client: httpx.Client) -> None:
    response = client.post("/search", content=(b" " * 2**16 for _ in range(20)))
    assert (response.status_code, response.json()["error"]) == (413, "a request has at most 1,048,576 bytes")


@pytest.mark.parametrize("given", [None, "Bearer", "Bearer another-token-of-tests", "Basic !", f"Bearer {TOKEN}x"])
def test_without_the_token_all_but_health_is_refused(server: Running, given: str | None) -> None:
    headers = {"Authorization": given} if given else {}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as stranger:
        assert stranger.get("/health").json() == {"status": "ok"}
        paths = ("/", "/page.js", "/collections", "/docs", "/openapi.json", "/nowhere", "/health/")
        refused = [stranger.get(path) for path in paths]
        refused += [stranger.post(path, json={"query": "a", "texts": ["a"]}) for path in ("/search", "/embed")]
    assert {one.status_code for one in refused} == {401}
    assert {one.json()["error"] for one in refused} == {"a request must bring the token"}


def test_the_interface_describes_itself(client: httpx.Client) -> None:
    assert "swagger" in client.get("/docs").text
    paths = client.get("/openapi.json").json()["paths"]
    assert paths.keys() == {"/health", "/collections", "/search", "/embed"}
    (about, *_) = client.get("/collections").json()
    assert about == {
        "name": "one", "model": "one", "exact": True,
        "languages": {
            "ar": {"documents": 2, "direction": "rtl"},
            "de": {"documents": 2, "direction": "ltr"},
            "en": {"documents": 3, "direction": "ltr"},
        },
    }  # fmt: skip


def test_ray_s_own_metrics_count_requests_and_time_them(client: httpx.Client) -> None:
    search(client)
    port = ray.nodes()[0]["MetricsExportPort"]
    with httpx.Client(trust_env=False) as prometheus:
        for _ in range(60):  # which Ray gathers now and then
            lines = prometheus.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
            counted = [one for one in lines if one.startswith("ray_hbt_ray_serve") and 'path="/search"' in one]
            if counted:
                break
            search(client)
    assert any(one.startswith("ray_hbt_ray_serve_requests") and 'status="200"' in one for one in counted)
    assert any(one.startswith("ray_hbt_ray_serve_latency_s_count") for one in counted)
