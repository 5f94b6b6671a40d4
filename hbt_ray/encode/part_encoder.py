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
from hbt_ray.encode.spans import Part
from hbt_ray.encode.vectors import TextBatches, TooLong
from hbt_ray.model.build import build_encoder
from hbt_ray.model.flops import peak_flops
from hbt_ray.storage import parts
from hbt_ray.terminal import start_worker_logging


class PartEncoder:
    """The Ray Data actor: loads the model once, then encodes and commits one part a call."""

    def __init__(self, config: EncodeConfig, commits: str) -> None:
        start_worker_logging()
        encoding = config.encoding
        torch.set_num_threads(max(1, int(encoding.cpus_per_actor)))
        device = torch.device("cuda" if encoding.gpus_per_actor else "cpu")
        self._config = config
        self._commits = commits
        self._encoder = build_encoder(config.encoder).eval().to(device)
        self._batches = TextBatches(self._encoder, encoding.batch_tokens, config.role)
        self._about = {"actor": uuid.uuid4().hex, "peak_flops": peak_flops(device) or 0.0}

    def __call__(self, batch: pa.Table) -> dict[str, list[Any]]:
        """Encode the one part in `batch`, as `Tokenize` gives it.

        Returns: one row: the part's `language` and `rows`, how many were `encoded` (none of a part that another writer
            has committed), its `tokens` and the `flops` they need, this `actor` and its `peak_flops` (0: not known),
            and `error`, a user's mistake, which Ray Data would disguise.
        """
        part, error = Part(**batch["part"][0].as_py()), batch["error"][0].as_py()
        found = tokens.unpack_table(batch["tokens"][0]) if not error else None
        rows = tokens.split_lists(found["tokens"].combine_chunks()) if found is not None else []
        encoded = 0
        try:
            if found is not None:
                ids, stored = found["id"].to_pylist(), batch["texts"][0].as_py()
                encoded = part.rows if self._commit(part, ids, rows, stored) else 0
        except UserError as mistake:
            error = str(mistake)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        count = int(lengths.sum())
        flops = self._encoder.flops(count, int((lengths**2).sum()), backward=False)
        about = {"language": part.language, "rows": part.rows, "encoded": encoded, "tokens": count, "flops": flops}
        return {name: [value] for name, value in {**about, "error": error, **self._about}.items()}

    def _commit(self, part: Part, ids: list[str], rows: list[np.ndarray], texts: str) -> bool:
        """Encode a part and commit it; returns whether this is what counts."""
        file = f"parts/{part.name}-{uuid.uuid4().hex}.parquet"  # which no other writer has, not even this one again
        uri = storage.join(self._config.out, file)

        def encode() -> dict[str, Any]:
            return {"rows": part.rows, "file": file, "sha256": self._write(uri, ids, rows), "texts": texts}

        done = parts.do(self._commits, part.name, encode)
        if not done.ours:
            storage.remove_file(uri)
        return done.ours

    def _write(self, uri: str, ids: list[str], rows: list[np.ndarray]) -> str:
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
        return embeddings.write_part(uri, ids, vectors, self._config.encoding.dtype)
