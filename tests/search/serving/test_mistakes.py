"""What cannot be served is said in one line; nothing is started for it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from inline import encode_here
from served import ROOT
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from hbt_ray.command import parse
from hbt_ray.config import EncodeConfig, EncoderConfig, ServeConfig, UserError
from hbt_ray.encode.encode import identify
from hbt_ray.model.build import build_encoder
from hbt_ray.search.serving.deploy import share
from hbt_ray.search.serving.guard import Guard
from hbt_ray.search.serving.models import match
from hbt_ray.search.serving.served import Piece, Served, open_served
from hbt_ray.search.serving.server import run_server


def config(served: Path, **changes: Any) -> ServeConfig:
    base = {"collections": {"one": f"{served}/one-vectors"}, "models": {"one": f"{served}/one"}, "port": 0}
    return ServeConfig.model_validate({**base, **changes})


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "--collections: field required; --models: field required"),
        (("--collections", "a=x", "a=y", "--models", "m=x"), "--collections: a is there twice"),
        (("--collections", "a=x", "--models", "m=x", "m=y"), "--models: m is there twice"),
        (("--collections", "x", "--models", "m=x"), "--collections: 'x' is neither key=value nor a JSON object"),
        (("--collections", "a b=x", "--models", "m=x"), "--collections: string should match pattern"),
        (("--collections", "a=x", "--models", "m=x", "--port", "70000"), "--port: input should be less than"),
        (("--collections", "a=x", "--models", "m=x", "--replicas", "3", "2"), "--replicas: .*the most no less"),
        (("--collections", "a=x", "--models", "m=x", "--host", "0.0.0.0"), "--host 0.0.0.0: others can reach it"),
    ],
)
def test_settings_check_themselves(arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(UserError, match=line):
        parse(ServeConfig, arguments)


def test_collections_and_models_are_looked_at_before_anything_starts(served: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("secret")
    narrow = tmp_path / "narrow"
    build_encoder(EncoderConfig(model="tiny", precision="fp32"), f"{served}/one").export(str(narrow))
    for changes, line in (
        ({"collections": {"c": f"{served}/nowhere"}}, "--collections c: .*/nowhere holds no finished embeddings"),
        ({"collections": {"c": f"{served}/one"}}, "--collections c: .*/one holds no finished embeddings"),
        ({"models": {"m": f"{served}/nowhere"}}, "/nowhere is not a model"),
        ({"models": {"m": str(narrow)}}, "--collections one: its vectors have 64 numbers, and of --models m gives 128"),
        ({"models": {"m": f"{served}/two"}}, "--collections one: none of --models is .*/one with the weights"),
        ({"token_file": f"{served}/nothing"}, "--token-file: no file .*/nothing"),
        ({"token_file": str(tmp_path / "short")}, "--token-file .*/short: a token has at least 16"),
        ({"host": "256.1.1.1", "token_file": f"{served}/token"}, "--host 256.1.1.1 --port 0: cannot listen there"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=line) as raised:
            run_server(config(served, **changes))
        assert "\n" not in str(raised.value)


def test_a_port_in_use_ends_the_job_with_2(served: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = ["--collections", f"one={served}/one-vectors", "--models", f"one={served}/one", "--port", str(port)]
        done = subprocess.run(
            [sys.executable, "jobs/serve.py", *given],
            cwd=ROOT,
            env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address},
            capture_output=True,
            text=True,
            check=False,
        )
    line = f"--host 127.0.0.1 --port {port}: cannot listen there: Address already in use"
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout) == {"status": "error", "error": line}


def test_a_model_is_found_by_its_weights_and_a_second_use_of_it_has_a_second_name(
    served: Path, tmp_path: Path, ray_cluster: None
) -> None:
    """The other collection was encoded with another prefix."""
    encoder = EncoderConfig(model=f"{served}/one", precision="fp32", query_prefix="q: ")
    corpus = f"{served}/corpus.parquet"
    encode_here(EncodeConfig(corpus=corpus, out=f"{tmp_path}/other", encoder=encoder), identify(encoder))
    collections = {
        "b": open_served("b", f"{served}/one-index", "0.95"),
        "a": open_served("a", f"{tmp_path}/other", "0.95"),
    }
    two, one = f"{served}/two", f"{served}/one"
    found = match({"x": two, "y": one, "z": one}, collections)
    assert found.of == {"b": "y", "a": "z"}
    assert (found.configs["y"].query_prefix, found.configs["z"].query_prefix) == (None, "q: ")
    assert found.widths == {"x": 64, "y": 64, "z": 64}
    with pytest.raises(UserError, match="a model that two collections use differently needs two names"):
        match({"y": one}, collections)


def test_a_large_collection_is_shared_and_what_no_node_can_hold_refused() -> None:
    pieces = [Piece("de", size, size * 2**30, {}) for size in (3, 5, 2, 4)]
    served = Served("c", "uri", {}, pieces, {})
    shares = share(served, 7 * 2**30)
    assert sorted(piece.rows for held in shares for piece in held) == [2, 3, 4, 5]
    assert [sum(piece.rows for piece in held) for held in shares] == [7, 7]
    with pytest.raises(UserError, match=r"--collections c: 5 documents in de take 5.0 GiB of memory and no node"):
        share(served, 4 * 2**30)


def test_without_a_token_only_this_machine_s_own_names_are_answered() -> None:
    """So that a page of elsewhere, whose name its owner has point to this machine, does not get at it."""
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))])
    client = TestClient(Guard(app, None, ["/"]))
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
        assert client.get("/", headers={"host": host}).text == "here"
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        answer = client.get("/", headers={"host": host})
        assert (answer.status_code, answer.json()) == (403, {"error": "this is a server of localhost"})
