"""The actor that encodes: it holds the model, and commits one part a call."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, UserError
from hbt_ray.encode import embeddings, tokens
from hbt_ray.encode.corpus import Part
from hbt_ray.encode.vectors import TextBatches, TooLong
from hbt_ray.model.build import build_encoder
from hbt_ray.model.flops import peak_flops
from hbt_ray.storage import parts
from hbt_ray.terminal import start_worker_logging


class PartEncoder:
    """The Ray Data actor: loads the model once, then encodes and commits one part a call."""

    def __init__(self, config: EncodeConfig, folder: str) -> None:
        start_worker_logging()
        encoding = config.encoding
        torch.set_num_threads(max(1, int(encoding.cpus_per_actor)))
        device = torch.device("cuda" if encoding.gpus_per_actor else "cpu")
        self._config = config
        self._folder = folder
        self._encoder = build_encoder(config.encoder).eval().to(device)
        self._batches = TextBatches(self._encoder, encoding.batch_tokens, config.role)
        self._about = {"actor": uuid.uuid4().hex, "peak_flops": peak_flops(device) or 0.0}

    def __call__(self, batch: pa.Table) -> dict[str, list[Any]]:
        """Encode the one part in `batch`, as `Tokenize` gives it.

        Returns: one row: the part's `language` and `rows`, its `tokens` and the `flops` they need, this `actor` and its
            `peak_flops` (0: not known), and `error`, a user's mistake, which Ray Data would disguise.
        """
        part, error = Part(**batch["part"][0].as_py()), batch["error"][0].as_py()
        texts = tokens.unpack_table(batch["texts"][0]) if not error else None
        rows = tokens.split_lists(texts["tokens"].combine_chunks()) if texts is not None else []
        try:
            if texts is not None:
                ids = texts["id"].to_pylist()
                parts.do(self._folder, part.name, lambda: {"rows": part.rows, "sha256": self._write(part, ids, rows)})
        except UserError as mistake:
            error = str(mistake)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        count = int(lengths.sum())
        flops = self._encoder.flops(count, int((lengths**2).sum()), backward=False)
        found = {"language": part.language, "rows": part.rows, "tokens": count, "flops": flops, "error": error}
        return {name: [value] for name, value in {**found, **self._about}.items()}

    def _write(self, part: Part, ids: list[str], rows: list[np.ndarray]) -> str:
        try:
            vectors = self._batches.encode(rows)
        except TooLong as error:
            row = error.args[0]
            raise UserError(
                f"memory does not suffice to encode {ids[row]}, of {len(rows[row])} tokens, alone"
            ) from None
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise UserError(f"--model {self._config.encoder.model} gives {ids[broken[0]]} a vector that is not finite")
        uri = storage.join(self._folder, f"{part.name}.parquet")
        return embeddings.write_part(uri, ids, vectors, self._config.encoding.dtype)
