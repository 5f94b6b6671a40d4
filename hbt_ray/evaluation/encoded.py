"""The collections of a task: queries and documents, encoded by the model now or found where they are shared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EvaluateConfig
from hbt_ray.encode.encode import Identity, encode_corpus, shared_folder
from hbt_ray.evaluation import ids
from hbt_ray.evaluation.tasks.base import CorpusAt, Task
from hbt_ray.model.encoder import Role


class Collections(NamedTuple):
    """What `encode_corpus` says of the queries and of the documents."""

    queries: dict[str, Any]
    documents: dict[str, Any]

    @property
    def encoded(self) -> dict[str, int]:
        """How many texts have been encoded now."""
        return {"queries": self.queries["encoded"], "documents": self.documents["encoded"]}


def encode_task(config: EvaluateConfig, identity: Identity, task: Task, out: str) -> Collections:
    """Encode a task's queries and documents, as far as nobody has.

    Args:
        out: folder of the evaluation [URI].

    Raises:
        UserError: as `encode_corpus`.
    """
    documents = task.documents
    if isinstance(documents, pa.Table):
        documents = CorpusAt(ids.write_table(documents, storage.join(out, "documents")))
    queries = CorpusAt(ids.write_table(task.queries, storage.join(out, "queries")))
    with ThreadPoolExecutor(2) as both:  # starting an encoder takes longer than many a task's queries
        asked = both.submit(encode_shared, config, identity, queries, "query", storage.join(out, "queries"))
        if config.collection is not None:
            found = both.submit(encode_corpus, _settings(config, documents, "passage", config.collection), identity)
        else:
            found = both.submit(encode_shared, config, identity, documents, "passage", storage.join(out, "documents"))
    return Collections(asked.result(), found.result())


def encode_shared(
    config: EvaluateConfig, identity: Identity, texts: CorpusAt, role: Role, folder: str
) -> dict[str, Any]:
    """Encode texts into the cache, if there is one, or else into a folder; returns what `encode_corpus` does.

    Raises:
        UserError: as `encode_corpus`.
    """
    if config.cache is None:
        return encode_corpus(_settings(config, texts, role, folder), identity)
    shared = shared_folder(config.cache, identity, role, config.encoding.dtype)
    return encode_corpus(_settings(config, texts, role, shared), identity, among_others=True)


def _settings(config: EvaluateConfig, texts: CorpusAt, role: Role, out: str) -> EncodeConfig:
    return EncodeConfig(
        corpus=texts.uri,
        language=texts.language,
        duplicates=texts.duplicates,
        out=out,
        role=role,
        encoder=config.encoder,
        encoding=config.encoding,
    )
