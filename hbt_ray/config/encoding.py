"""How texts are encoded."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from hbt_ray.config.base import FewestAndMost, Section

Duplicates = Literal["error", "last"]
DUPLICATES = "ids that a corpus has twice: refuse, or take the last of each, as BEIR's loader does, and count the rest"


class EncodingConfig(Section):
    """How texts are encoded: the fixed parts, the batches and the actors."""

    FREE: ClassVar[frozenset[str]] = frozenset([
        "actors", "gpus_per_actor", "cpus_per_actor", "tokenizers", "batch_tokens",
    ])  # fmt: skip
    """Settings that say where and how fast a text is encoded: they may change between a run and its resumption."""

    part_rows: int = Field(4096, ge=1, description="largest part, all of one language [texts]")
    batch_tokens: int = Field(4096, ge=64, description="texts encoded at once [tokens, padding included]")
    actors: FewestAndMost = Field(
        (1, 1), description="encoder actors, fewest and most, as the cluster has room; one number: so many [MIN MAX]"
    )
    gpus_per_actor: float = Field(0, ge=0, description="GPUs of each actor; 0 encodes on CPU")
    cpus_per_actor: float = Field(1, ge=0, description="CPUs reserved by each actor")
    tokenizers: int = Field(
        2,
        ge=1,
        description="tokenising tasks at once for each actor; they reserve no CPU, so that none can wait for it",
    )
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = Field(
        "float16", description="number format of vectors on storage"
    )
