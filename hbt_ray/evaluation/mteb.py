"""MTEB's own retrieval tasks and results, with our encoder and our search: `--task mteb:NAME`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import datasets
import mteb
import pyarrow as pa
import pyarrow.parquet as pq
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.models import ModelMeta
from mteb.types import PromptType

from hbt_ray import storage
from hbt_ray.arrays import blocks
from hbt_ray.config import EvaluateConfig, IndexConfig, UserError
from hbt_ray.encode import embeddings
from hbt_ray.encode.encode import Identity, identify
from hbt_ray.evaluation.encoded import encode_shared
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.model.encoder import Role
from hbt_ray.search.build import build_index
from hbt_ray.search.searcher import Searcher

PREFIX = "mteb:"
OWNS = ("work", "mteb", "results.json", "manifest.json")  # what it makes in its folder
LANGUAGE = "mul"  # a subset is one pool, whatever the languages in it
TEXTS = 1024  # written at once
QUERIES = 2048  # searched at once
TEXT = pa.schema([("id", pa.string()), ("lang", pa.string()), ("text", pa.string())])


def evaluate_mteb(config: EvaluateConfig) -> dict[str, Any]:
    """Run one MTEB retrieval task; a finished run is left as it is, an unfinished one keeps what has been encoded.

    Writes `mteb/<task>.json`, which mteb reads (`TaskResult.from_disk`), and results.json: task, model, precision,
    `measure` (MTEB's main one), its mean over the subsets, `main_score`, and `by_subset`.

    Raises:
        UserError: mteb has no such retrieval task, its data or the model is unusable, or `out` holds another run.
    """
    out = config.out
    task = _task(config)
    identity = identify(config.encoder)
    about = {"task": config.task, "data": task.metadata.dataset, "model_fingerprint": identity.fingerprints}
    with storage.claimed(out, "evaluate", about, OWNS):
        if not storage.committed(out):
            with _no_old_data() if config.data else nullcontext():
                results = _run(config, task, identity)
            storage.write_json(storage.join(out, "results.json"), results)
            storage.commit(out, "evaluation", {"task": config.task, "model": config.encoder.model, "text": config.text})
            storage.clear(storage.join(out, "work"))
    found: dict[str, Any] = storage.read_json(storage.join(out, "results.json"))
    return found


@contextmanager
def _no_old_data() -> Iterator[None]:
    """`datasets` knows a local folder by its name, and would give what one of that name held when it was first read."""
    kept = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = folder
        try:
            yield
        finally:
            datasets.config.HF_DATASETS_CACHE = kept


def _task(config: EvaluateConfig) -> AbsTaskRetrieval:
    name = config.task.removeprefix(PREFIX)
    for flag in ("settings", "corpus", "language", "run", "collection", "fuse", "rerank"):
        if getattr(config, flag):
            raise UserError(f"--{flag}: {config.task} has no such choice")
    for rule in ("missing_queries", "missing_documents", "duplicates", "identical_ids"):
        if getattr(config, rule) != EvaluateConfig.model_fields[rule].default:
            raise UserError(f"--{rule.replace('_', '-')}: {config.task} keeps to mteb's own rule")
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise UserError(f"--task {config.task}: {' '.join(str(error.args[0]).split())}") from None
    if not isinstance(task, AbsTaskRetrieval) or task.metadata.type != "Retrieval":
        raise UserError(f"--task {config.task} is of type {task.metadata.type}, not Retrieval")
    if config.data:
        source = {**task.metadata.dataset, "path": config.data, "revision": "local"}
        task.metadata = task.metadata.model_copy(update={"dataset": source})
    return task


def _run(config: EvaluateConfig, task: AbsTaskRetrieval, identity: Identity) -> dict[str, Any]:
    try:
        task.load_data()
    except Exception as error:  # of many kinds: the hub, the network, the files
        where = task.metadata.dataset["path"]
        reason = " ".join(str(error).split())
        raise UserError(f"--task {config.task}: its data cannot be read from {where}: {reason}") from None
    model = Search(config, identity)
    (result,) = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False).task_results
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{task.metadata.name}.json"
        result.to_disk(file)
        storage.upload(folder, storage.join(config.out, "mteb"))
    by_subset = {
        f"{split}/{score['hf_subset']}": score["main_score"]
        for split, scores in result.scores.items()
        for score in scores
    }
    return {
        "task": config.task,
        "model": config.encoder.model,
        "precision": config.encoder.precision,
        "measure": task.metadata.main_score,
        "main_score": sum(by_subset.values()) / len(by_subset),
        "by_subset": by_subset,
        "counts": model.counts,
    }


class Search:
    """What mteb asks of a retriever (its SearchProtocol): each text is encoded on Ray once, search is exact.

    Attributes:
        counts: number of queries and documents so far, all subsets together.
    """

    def __init__(self, config: EvaluateConfig, identity: Identity) -> None:
        self.counts = {"queries": 0, "documents": 0}
        self._config = config
        self._identity = identity
        self._ids: list[str] = []

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb notes of the model: its name, revision and width."""
        name = f"hbt_ray/{Path(self._config.encoder.model).name}"
        revision = self._identity.fingerprints["passage"]
        return ModelMeta.create_empty({"name": name, "revision": revision, "embed_dim": self._identity.width})

    def index(
        self, corpus: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, num_proc: int | None, **_: Any
    ) -> None:
        """Encode the documents of one subset and split, titles in front, and index them."""
        self._ids = list(corpus["id"])
        self.counts["documents"] += len(self._ids)
        loader = create_dataloader(
            corpus, task_metadata=task_metadata, prompt_type=PromptType.document, batch_size=TEXTS, num_proc=num_proc
        )
        folder = self._folder(hf_split, hf_subset)
        vectors = self._encode(loader, "passage", storage.join(folder, "documents"))
        build_index(IndexConfig(embeddings=vectors, out=storage.join(folder, "index")))

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        num_proc: int | None,
        top_ranked: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """The scores, by query id and document id, of its `top_k` best documents.

        Raises:
            UserError: the task wants given documents ranked.
        """
        if top_ranked is not None:
            raise UserError(f"--task {self._config.task} ranks given documents, not a corpus")
        ids = list(queries["id"])
        self.counts["queries"] += len(ids)
        loader = create_dataloader(
            queries, task_metadata=task_metadata, prompt_type=PromptType.query, batch_size=TEXTS, num_proc=num_proc
        )
        folder = self._folder(hf_split, hf_subset)
        source = self._encode(loader, "query", storage.join(folder, "queries"))
        vectors = embeddings.read_aligned(source, [f"{LANGUAGE}:{row}" for row in range(len(ids))])
        found: dict[str, dict[str, float]] = {}
        with Searcher(storage.join(folder, "index"), gpus_per_actor=self._config.encoding.gpus_per_actor) as searcher:
            for block in blocks(len(ids), QUERIES):
                hits = searcher.search(vectors[block], top_k)
                for query, keys, scores in zip(ids[block], hits.ids.tolist(), hits.scores.tolist(), strict=True):
                    documents = (self._ids[int(key.partition(":")[2])] for key in keys)
                    found[query] = dict(zip(documents, scores, strict=True))
        return found

    def _folder(self, split: str, subset: str) -> str:
        return storage.join(self._config.out, "work", f"{split}-{subset}")

    def _encode(self, loader: Any, role: Role, folder: str) -> str:
        """The collection of all texts, numbered from 0 [URI]."""

        def tables() -> Iterator[pa.Table]:
            first = 0
            for batch in loader:
                numbers = [str(number) for number in range(first, first + len(batch["text"]))]
                first += len(numbers)
                yield pa.table({"id": numbers, "lang": [LANGUAGE] * len(numbers), "text": batch["text"]}, schema=TEXT)

        def write(file: Any) -> None:
            with pq.ParquetWriter(file, TEXT) as writer:
                for table in tables():
                    writer.write_table(table)

        corpus = f"{folder}.parquet"
        storage.write(corpus, write)
        return str(encode_shared(self._config, self._identity, CorpusAt(corpus), role, folder)["collection"])
