"""Results of evaluations that a stranger made: reported as they are, or refused in a line."""

from __future__ import annotations

from pathlib import Path

from hostile import assert_clear, mutants

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.study.finished import Reported, read_results
from hbt_ray.study.runs import HEADLINE, SETTINGS, Run

OF_SETTING = {"map": 0.5, "by_language": {"de": 0.5, "en": None}, "measures": {"ndcg@10": 0.5}}
RESULTS = {
    "task": "xquad-r", "model": "m", "text": "sentence", "headline": ["map"], "counts": {"documents": 3},
    "settings": {
        "monolingual": OF_SETTING,
        "cross-lingual": {**OF_SETTING, "by_pair": {"de-en": 0.5}, "by_script": {"same": 0.5}},
        "multilingual": {**OF_SETTING, "rank_distance": 3.0, "language_share": {"top": {"de": 0.5}}},
    },
}  # fmt: skip


def test_results_with_anything_in_them(tmp_path: Path) -> None:
    storage.commit(str(tmp_path), "evaluation", {})
    refused = 0
    for what, results in mutants(RESULTS, 300):
        storage.write_json(str(tmp_path / "results.json"), results)
        try:
            run = Run("run", read_results(str(tmp_path), Reported))
            for column in HEADLINE:
                column.value(run)
            for setting in SETTINGS:
                run.by_language(setting)
                run.measure(setting, "ndcg@10")
            run.shares("top")
            run.by_script()
            run.pairs()
        except UserError as error:
            assert_clear(error, what)
            refused += 1
        except Exception as error:
            raise AssertionError(what) from error
    assert refused > 150
