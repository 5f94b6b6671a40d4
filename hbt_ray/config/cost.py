"""Settings of cost estimates."""

from __future__ import annotations

from pydantic import Field

from hbt_ray.config.base import Section


class CostConfig(Section):
    """What an estimate of a study's cost assumes, all of it shown beside the estimate."""

    mfu: float = Field(
        0.35, gt=0, le=1, description="of a GPU's peak, what texts without padding reach, second passes counted [share]"
    )
    peak_tflops: float = Field(989.0, gt=0, description="dense bf16 peak of a GPU; H100 and H200 [TFLOP/s]")
    gpu_hour_price: float = Field(2.5, ge=0, description="price of a GPU for an hour [currency]")
    currency: str = Field("USD", min_length=1, description="of the price")
    query_tokens: int = Field(20, ge=1, description="length of a query, prompt and special tokens included [tokens]")
    passage_tokens: int = Field(
        150, ge=1, description="length of a passage, a hard negative or a task's document, likewise [tokens]"
    )
    vocabulary: int = Field(250_002, ge=1, description="of a random-weight size; XLM-R's [pieces]")
    checkpoints: int = Field(2, ge=0, description="of each run that are kept, fp32 weights and two moments each")
    vector_bytes: int = Field(4, ge=1, description="of each number of a stored vector; evaluations keep float32")
