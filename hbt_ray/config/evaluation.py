"""Settings of `evaluate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hbt_ray.config.base import Section
from hbt_ray.config.encoding import EncodingConfig
from hbt_ray.config.train import EncoderConfig


class EvaluateConfig(Section):
    """Settings of `evaluate`: a model on a task in the three settings."""

    task: str = Field(description="xquad-r or world-facts")
    data: str = Field(description="folder with the task's files [URI]")
    out: str = Field(description="folder for results.json, run.trec, qrels.trec and the embeddings [URI]")
    text: Literal["sentence", "sentence+context"] = Field("sentence", description="what a candidate's text is")
    depth: int = Field(100, ge=1, description="length of each list in run.trec [documents]")
    encoder: EncoderConfig
    encoding: EncodingConfig = EncodingConfig(dtype="float32")
