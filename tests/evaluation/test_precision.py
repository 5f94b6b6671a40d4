"""Which precision an evaluation computes in, by what was asked for. Needs no cluster."""

from __future__ import annotations

from typing import Any

import pytest

from hbt_ray.command import parse
from hbt_ray.config import EncoderConfig, EvaluateConfig, EvaluatedEncoder

ASKED = ["--task", "xquad-r", "--out", "/tmp/o", "--model", "m"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "fp32"),
        (["--gpus-per-actor", "1"], "fp32"),
        (["--precision", "bf16"], "bf16"),
        (["--precision", "fp32"], "fp32"),
    ],
)
def test_fp32_unless_asked(flags: list[str], expected: str) -> None:
    assert parse(EvaluateConfig, [*ASKED, *flags]).encoder.precision == expected


@pytest.mark.parametrize("kind", [EncoderConfig, EvaluatedEncoder])
def test_settings_from_python_and_from_a_file_say_what_was_asked(kind: type[EncoderConfig]) -> None:
    for encoder, expected in ((kind(model="m", pooling="cls"), "fp32"), (kind(model="m", precision="bf16"), "bf16")):
        config: dict[str, Any] = {"task": "xquad-r", "out": "/tmp/o", "encoder": encoder}
        found = EvaluateConfig(**config)
        assert (found.encoder.precision, found.encoder.pooling) == (expected, encoder.pooling)
        read = EvaluateConfig.model_validate({**config, "encoder": encoder.model_dump(exclude_unset=True)})
        assert read == found
        assert EvaluateConfig.model_validate(found.model_dump()) == found
