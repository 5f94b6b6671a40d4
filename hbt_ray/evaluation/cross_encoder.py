"""A cross-encoder of sentence-transformers, and the scores that it gives to pairs of a query and a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray.data
import torch

from hbt_ray import storage
from hbt_ray.arrays import blocks
from hbt_ray.config import EncodingConfig, UserError
from hbt_ray.model.files import ModelFiles, model_errors
from hbt_ray.model.imports import import_sentence_transformers
from hbt_ray.storage import parts
from hbt_ray.terminal import Progress, start_worker_logging

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

QUERIES = 32  # whose pairs are scored at once, so that texts of about one length share a batch
LITTLE = 2000  # pairs, up to which this process scores them: as long as starting an actor takes


def fingerprint(name: str) -> str:
    """Load the model once, to know what its scores depend on besides the texts.

    Raises:
        UserError: it is not a cross-encoder that gives a pair one score.
    """
    from hbt_ray.model.tokenizer import tokenizer_fingerprint
    from hbt_ray.model.weights import digest

    model = load(name)
    scores = model.predict([("a query", "a document")], show_progress_bar=False)
    if scores.shape != (1,):
        raise UserError(f"--rerank {name} gives a pair {scores.shape[-1]} scores, not one to rank by")
    return storage.fingerprint({
        "weights": digest(model),
        "modules": [type(module).__name__ for module in model],
        "tokenizer": tokenizer_fingerprint(model.tokenizer),
        "limit": model.max_length,
        "prompt": model.prompts.get(model.default_prompt_name),
        "activation": str(model.activation_fn),
    })  # fmt: skip


def load(name: str, device: str = "cpu") -> CrossEncoder:
    """The model, in fp32; what its files set, such as the longest pair, which is cut, is as they have it.

    Raises:
        UserError: it is none, lacks weights, or has code of its own.
    """
    import_sentence_transformers()
    from sentence_transformers import CrossEncoder
    from transformers.utils.logging import disable_progress_bar

    from hbt_ray.model.weights import complete

    disable_progress_bar()
    with model_errors(name, "--rerank", "cross-encoder"), complete(name, "--rerank"):
        return CrossEncoder(ModelFiles(name).path, device=device, model_kwargs={"dtype": torch.float32})


def scores(
    name: str, queries: pa.Array, documents: pa.Array, pairs: Sequence[np.ndarray], encoding: EncodingConfig
) -> list[np.ndarray]:
    """What `CrossEncoder.predict` gives to each query with each of its documents, fp32, as long as `pairs`.

    A few pairs are scored in this process, more by actors, with the resources of those that encode.

    Args:
        queries: texts, string [queries].
        documents: texts, string [documents].
        pairs: places of each query's documents in `documents`, int64 each.

    Raises:
        UserError: the model is unusable, or a score is not finite.
    """
    about = {"name": name, "queries": queries, "documents": documents}
    rows = [{"query": i, "documents": places.tolist()} for i, places in enumerate(pairs) if len(places)]
    found = [np.empty(0, dtype=np.float32)] * len(pairs)
    with Progress("rerank", "queries", len(rows)) as progress:

        def note(result: Mapping[str, Any]) -> None:
            found[result["query"]] = np.array(result["scores"], dtype=np.float32)
            progress.advance(1)

        if sum(map(len, pairs)) <= LITTLE and not encoding.gpus_per_actor:
            for result in _here(about, rows):
                note(result)
        else:
            shared = {"name": name, **{kind: ray.put(about[kind]) for kind in ("queries", "documents")}}
            parts.run(rows, _pipeline(shared, encoding, len(rows)), note)
    if any(not np.isfinite(values).all() for values in found):
        raise UserError(f"--rerank {name} gives a pair a score that is not finite")
    return found


class Scorer:
    """The actor that reranks: it holds the model and all texts, and scores the pairs of some queries a call."""

    def __init__(self, about: Mapping[str, Any], encoding: EncodingConfig) -> None:
        start_worker_logging()
        torch.set_num_threads(max(1, int(encoding.cpus_per_actor)))
        texts = {kind: ray.get(about[kind]) for kind in ("queries", "documents")}
        self._score = _Batches(load(about["name"], "cuda" if encoding.gpus_per_actor else "cpu"), **texts)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One row a query: `query`, its number, `scores` and an empty `error`."""
        return pa.Table.from_pylist([{**row, "error": ""} for row in self._score(batch.to_pylist())])


class _Batches:
    def __init__(self, model: CrossEncoder, queries: pa.Array, documents: pa.Array) -> None:
        self._model, self._queries, self._documents = model, queries, documents

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        texts = [self._documents.take(pa.array(row["documents"])).to_pylist() for row in rows]
        pairs = [
            (self._queries[row["query"]].as_py(), text) for row, some in zip(rows, texts, strict=True) for text in some
        ]
        values = self._model.predict(pairs, show_progress_bar=False)
        ends = np.cumsum([len(some) for some in texts])[:-1]
        for row, of_query in zip(rows, np.split(values, ends), strict=True):
            yield {"query": row["query"], "scores": of_query.tolist()}


def _here(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    score = _Batches(load(about["name"]), about["queries"], about["documents"])
    for block in blocks(len(rows), QUERIES):
        yield from score(rows[block])


def _pipeline(about: Mapping[str, Any], encoding: EncodingConfig, rows: int) -> Any:
    fewest, most = (min(count, -(-rows // QUERIES)) for count in encoding.actors)

    def pipeline(dataset: ray.data.Dataset) -> ray.data.Dataset:
        return dataset.map_batches(
            Scorer,
            fn_constructor_kwargs={"about": about, "encoding": encoding},
            batch_size=QUERIES,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most),
            num_cpus=encoding.cpus_per_actor,
            num_gpus=encoding.gpus_per_actor or None,
        )

    return pipeline
