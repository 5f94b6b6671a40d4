"""World facts held out for evaluation, the same in every language: `documents.parquet` and `queries.parquet`."""

from __future__ import annotations

from hbt_ray.evaluation.readers import world_facts
from hbt_ray.evaluation.tasks.definition import EVERY, Definition

WORLD_FACTS = Definition(
    "the folder with documents.parquet and queries.parquet that make demo writes",
    world_facts.read,
    EVERY,
    ("map",),
    published=False,
)
