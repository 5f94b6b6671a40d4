"""The command line: settings from YAML and flags, a help that can be read, and mistakes by the flag that was typed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hostile import assert_clear

from hbt_ray.command import flags_of, parse
from hbt_ray.config import CheckConfig, EncodeConfig, PrepareConfig, TrainConfig, UserError
from hbt_ray.config.uris import FOLDER

NEEDED = ["--data", "/a", "--out", "/b", "--model", "tiny", "--steps", "3"]


def test_settings_come_from_yaml_and_flags_override_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = tmp_path / "run.yaml"
    yaml.write_text("data: /a\nout: /b\nsteps: 5\nencoder: {model: tiny}\nbatches: {alpha: 0.3, batch_size: 64}\n")
    config = parse(TrainConfig, ["--config", str(yaml), "--alpha", "0.7", "--languages", "de", "en"])
    assert (config.batches.alpha, config.batches.batch_size, config.batches.languages) == (0.7, 64, ("de", "en"))
    monkeypatch.setenv("ALPHA", "0.1")
    monkeypatch.setenv("DATA", "elsewhere")
    assert parse(TrainConfig, [f"--config={yaml}"]) == config.model_copy(
        update={"batches": config.batches.model_copy(update={"alpha": 0.3, "languages": ()})}
    )
    yaml.write_text("data: /a\nout: /b\nsteps: 5\nencoder:\n  model: tiny\nbatches:\n")  # nothing in a section
    assert parse(TrainConfig, ["--config", str(yaml)]).batches.alpha == 0.5


def test_a_list_that_is_given_twice_has_both() -> None:
    config = parse(
        PrepareConfig,
        ["--source", "pairs", "--input", "a=/a", "a=/b", "--input=c=/c", "--tokenizer", "x", "--out", "/o"],
    )
    assert [(one.name, one.uri) for one in config.input] == [("a", "/a"), ("a", "/b"), ("c", "/c")]


def test_a_flag_has_its_section_or_not_and_booleans_their_opposite() -> None:
    long = parse(TrainConfig, [*NEEDED, "--engine.gradcache", "--batches.alpha=0.2", "--validation.data", "/v"])
    short = parse(TrainConfig, [*NEEDED, "--gradcache", "--alpha", "0.2", "--validation.data", "/v", "--no-compile"])
    assert long == short
    assert (short.engine.gradcache, short.batches.alpha, short.validation.data) == (True, 0.2, "/v")


def test_pairs_of_names_and_values() -> None:
    train = parse(TrainConfig, [*NEEDED, "--instructions", json.dumps({"faq": "find: "}), "news=query: "])
    assert train.encoder.instructions == {"faq": "find: ", "news": "query: "}
    check = parse(CheckConfig, ["--out", "/o", "--data", "xquad-r=/x", "--data", "mlqa=s3://b/m"])
    assert check.data == {"xquad-r": "/x", "mlqa": "s3://b/m"}
    with pytest.raises(UserError, match=r"^--data: '/x' is neither key=value nor a JSON object$"):
        parse(CheckConfig, ["--out", "/o", "--data", "/x"])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--out", "/o"], "--corpus: field required; --model: field required"),
        (["--corpus", "/c", "--out", "/o", "--model", "x", "--k", "3"], "--k: there is no such flag"),
        (["--corpus", "/c", "--out", "/o", "--model", "x", "--lenguage", "de"],
         "--lenguage: there is no such flag; is --language meant?"),
        (["--corpus", "/c", "/d", "--out", "/o", "--model", "x"], "--corpus: takes one value, not /c /d"),
        (["stray", "--corpus", "/c"], "stray: a flag is missing before it"),
        (["--corpus", "/c", "--out", "/o", "--model", "x", "--dtype", "fp8"],
         "--dtype: input should be 'float32', 'float16', 'bfloat16' or 'int8', not 'fp8'"),
        (["--corpus", "a::b", "--out", "/", "--model", ""],
         "--corpus: a::b: file systems cannot be chained by ::; --out: / is no folder of a run's own;"
         " --model: a path cannot be empty"),
        (["--config"], "--config: expected one argument"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_flag_as_it_was_typed(given: list[str], line: str) -> None:
    with pytest.raises(UserError) as error:
        parse(EncodeConfig, given)
    assert str(error.value) == line


def test_a_mistake_of_two_settings_is_one_sentence() -> None:
    with pytest.raises(UserError) as error:
        parse(TrainConfig, [*NEEDED, "--epochs", "2"])
    assert str(error.value) == "say either --steps or --epochs"


def test_mistakes_in_yaml(tmp_path: Path) -> None:
    yaml = tmp_path / "run.yaml"
    arguments = ["--config", str(yaml), *NEEDED]
    yaml.write_text("batches: {languages: [de, no]}\n")
    with pytest.raises(UserError, match=r"^--languages: input should be a valid string, not False; quote it: YAML"):
        parse(TrainConfig, arguments)
    yaml.write_text("batches: {alhpa: 0.3}\n")
    with pytest.raises(
        UserError, match=r"^--batches\.alhpa: extra inputs are not permitted.*; is --batches.alpha meant\?"
    ):
        parse(TrainConfig, arguments)
    for text in ("- a\n", "", "1: 2\n"):
        yaml.write_text(text)
        with pytest.raises(UserError, match="run.yaml holds no settings"):
            parse(TrainConfig, arguments)
    yaml.write_text("a: [\n")
    with pytest.raises(UserError, match="run.yaml is not YAML"):
        parse(TrainConfig, arguments)


def test_a_relative_path_is_refused_in_a_submitted_job(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--source", "world-facts", "--tokenizer", "train:100", "--out"]
    job = {"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))  # as Ray starts the driver of a submitted job
    with pytest.raises(
        UserError,
        match=r"^--out: runs/x is relative, and a submitted job runs in a folder of the cluster.*s3://bucket/runs",
    ):
        parse(PrepareConfig, [*arguments, "runs/x"])
    assert parse(PrepareConfig, [*arguments, "/runs/x"]).out == "/runs/x"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {}}))  # in the folder of Ray's head
    with pytest.raises(UserError, match=r"^--out: runs/x is relative"):
        parse(PrepareConfig, [*arguments, "runs/x"])
    here = {"runtime_env": {}, "metadata": {FOLDER: str(Path.cwd())}}  # as cluster/local.py submits
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(here))
    assert parse(PrepareConfig, [*arguments, "runs/x"]).out == f"{Path.cwd()}/runs/x"


def test_help_begins_with_what_is_used_most_and_has_a_flag_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(TrainConfig, ["--help"], "train.py")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    flags = [line.split()[0].rstrip(",") for line in text.splitlines() if line.startswith("  --")]
    assert flags[:6] == ["--config", "--data", "--model", "--out", "--strategy", "--alpha"]
    assert len(flags) == len(set(flags))
    assert "--batches.alpha" not in text and "--validation.data" in flags
    assert "encoder:\n" in text and "x-x|x-y|hybrid" in text


VALUES = ["", "..", "-1", str(2**63), str(2**64), "1e400", "inf", "nan", "9" * 5000, "x" * 200_000, "a\nb", "\udcff",
          "{", '{"a":' * 50_000, '{"a":' + "9" * 5000 + "}", "=", "a::b", "s3:/x", "~nobody/x"]  # fmt: skip


def test_any_value_of_any_flag_is_taken_whole_or_refused_in_a_short_line() -> None:
    chance = random.Random(0)
    for flag in flags_of(TrainConfig):
        value = chance.choice(VALUES)
        try:
            taken = parse(TrainConfig, [*NEEDED, flag.name, value])
        except UserError as error:
            assert_clear(error, flag.name)
        else:
            json.dumps(taken.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--seed", str(2**64)], "--seed: "),
        (["--learning-rate", "inf"], "--learning-rate: input should be a finite number"),
        (["--name", ".."], "--name: string should match pattern"),
        (["--lora-alpha", "x" * 200_000], r"--lora-alpha: input should be a valid number, .*, not 'x+\.\.\.x+'$"),
        (["--" + "x" * 200_000], "--xxx.* … .*x: there is no such flag"),
        (["--config", "simplecache::s3://b/x"], "--config: simplecache::s3://b/x: file systems cannot be chained"),
        (["--config", "nosuch://b/x"], "--config: cannot read nosuch://b/x: "),
    ],
)
def test_what_no_run_can_use_is_refused(given: list[str], line: str) -> None:
    with pytest.raises(UserError, match=f"^{line}") as caught:
        parse(TrainConfig, [*NEEDED, *given])
    assert_clear(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("epochs: .inf\n", "run.yaml cannot be used: inf is no finite number"),
        ("data: {a: {uri: x, weight: 1" + "0" * 400 + "}}\n", "run.yaml cannot be used: a whole number cannot"),
        ("name: &a [*a]\n", "run.yaml has aliases that stand for"),
        ("encoder: [1]\n", "--encoder: "),
        ("loss: [1]\n", "valid dictionary"),
        ("loss: {kind: [x]}\n", "--loss"),
        ("batches: []\n", "--batches: "),
        ("k: |\n" + "  x\n" * 50_000, "--k: extra inputs are not permitted, not 'x"),
    ],
)
def test_settings_that_are_made_to_break_the_reader(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(UserError, match=line) as caught:
        parse(TrainConfig, ["--config", str(tmp_path / "run.yaml"), "--data", "/a", "--out", "/b"])
    assert_clear(caught.value)
