"""Which precision an evaluation computes in, by what was asked for. Needs no cluster."""

from __future__ import annotations

from typing import Any

import pytest

from hbt_ray.command import parse
from hbt_ray.config import EncoderConfig, EvaluateConfig
from hbt_ray.evaluation import precision

ASKED = ["--task", "xquad-r", "--out", "/tmp/o"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "m"], "fp32"),
        (["--model", "m", "--precision", "bf16"], "bf16"),
        (["--model", "m", "--precision", "fp32"], "fp32"),
        (["--model", "m", "--gpus-per-actor", "1"], "bf16"),
        (["--model", "m", "--gpus-per-actor", "1", "--precision", "fp32"], "fp32"),
        (["--model", "bm25"], None),
        (["--model", "m", "--run", "/tmp/x.trec"], None),
    ],
)
def test_fp32_on_cpu_unless_asked(flags: list[str], expected: str | None) -> None:
    found = precision.settled(parse(EvaluateConfig, [*ASKED, *flags]))
    assert precision.of(found) == expected


def test_settings_from_python_and_from_a_file_say_what_was_asked() -> None:
    for encoder, expected in ((EncoderConfig(model="m"), "fp32"), (EncoderConfig(model="m", precision="bf16"), "bf16")):
        config: dict[str, Any] = {"task": "xquad-r", "out": "/tmp/o", "encoder": encoder}
        assert precision.of(precision.settled(EvaluateConfig(**config))) == expected
        read = EvaluateConfig.model_validate({**config, "encoder": encoder.model_dump(exclude_unset=True)})
        assert precision.of(precision.settled(read)) == expected
