"""Encode a corpus exactly once: Ray Data runs the parts that no earlier run committed on actors that hold the model."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray.data
import torch

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EncoderConfig, UserError
from hbt_ray.data import tokenizer as tokenizers
from hbt_ray.index import corpus as corpora
from hbt_ray.index import embeddings
from hbt_ray.index.corpus import Corpus, Part
from hbt_ray.train.encoder import Encoder, Role
from hbt_ray.train.models import build

LOG = logging.getLogger(__name__)
BLOCKS = 1000  # of parts given to Ray Data: its start slows down with their number

# Fields that say where and how fast a text is encoded, and so may change between a run and its resumption.
RESOURCES = {"actors", "gpus_per_actor", "cpus_per_actor", "batch_tokens"}


class Identity(NamedTuple):
    """What vectors depend on besides the text: two equal fingerprints, the same vectors.

    Attributes:
        width: length of a vector.
        fingerprints: role to a hash of weights, tokenizer, modules, precision, prefix and length limit.
    """

    width: int
    fingerprints: dict[Role, str]


def identify(config: EncoderConfig) -> Identity:
    """Load the model once to know what it is.

    Raises:
        UserError: it is not a model.
    """
    encoder = build(config)
    weights = hashlib.sha256()
    for name, tensor in sorted(encoder.model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().contiguous().view(torch.uint8).numpy() if tensor.ndim else tensor.numpy())
    common = {
        "weights": weights.hexdigest(),
        "tokenizer": tokenizers.fingerprint(encoder.tokenizer),
        "modules": [[type(module).__name__, getattr(module, "pooling_mode", None)] for module in encoder.model],
        "precision": config.precision,
    }
    roles: tuple[Role, ...] = ("query", "passage")
    return Identity(
        encoder.width,
        {
            role: storage.fingerprint(
                {**common, "role": role, "prefix": encoder.prefixes[role], "limit": encoder.limits[role]}
            )
            for role in roles
        },
    )


def encode(config: EncodeConfig, identity: Identity | None = None) -> dict[str, Any]:
    """Encode the texts of a corpus into `<out>/parts`, doing only what an earlier run of the same settings left.

    Args:
        identity: of `config.encoder`, when the caller knows it already.

    Returns: `out`, `rows` (in the folder), `encoded` (by this call) and `width`.

    Raises:
        UserError: the corpus or the model is unusable, or `out` holds another run.
    """
    out = storage.absolute(config.out)
    encoder = config.encoder.model_copy(update={"model": storage.model_name(config.encoder.model)})
    config = config.model_copy(update={"encoder": encoder})
    identity = identity or identify(config.encoder)
    corpus = corpora.scan(storage.absolute(config.corpus), config.encoding.part_rows)
    storage.claim(out, "encode", _settings(config, identity, corpus))
    done = _commits(out)
    missing = [part for part in corpus.parts if done.get(part.name, {}).get("rows") != part.rows]
    if missing:
        _run(config, out, missing, already=corpus.rows - sum(part.rows for part in missing), total=corpus.rows)
        done = _commits(out)
    if missing or not storage.committed(out):
        storage.commit(out, "embeddings", _manifest(config, identity, corpus, done))
    encoded = sum(part.rows for part in missing)
    return {"out": config.out, "rows": corpus.rows, "encoded": encoded, "width": identity.width}


def encode_texts(encoder: Encoder, texts: Sequence[str], role: Role, batch_tokens: int) -> np.ndarray:
    """Unit vectors, fp32 [texts, width]; texts of like length share a batch of at most `batch_tokens` padded tokens."""
    rows = encoder.tokenize(texts, role)
    device = next(encoder.parameters()).device
    vectors = np.empty((len(texts), encoder.width), dtype=np.float32)
    with torch.inference_mode():
        for batch in token_batches(np.array([len(row) for row in rows]), batch_tokens):
            tensors = {name: tensor.to(device) for name, tensor in encoder.pad([rows[i] for i in batch]).items()}
            vectors[batch] = encoder(**tensors).float().cpu().numpy()
    return vectors


def token_batches(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Positions of texts, longest first, in batches whose rows x longest row stay within `budget`, or of one text."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start:stop]
        start = stop


class PartEncoder:
    """The Ray Data actor: loads the model once, then encodes and commits one part a call."""

    def __init__(self, config: EncodeConfig, out: str) -> None:
        encoding = config.encoding
        torch.set_num_threads(max(1, int(encoding.cpus_per_actor)))
        self.config = config
        self.out = out
        self.encoder = build(config.encoder).eval()
        self.encoder.to("cuda" if encoding.gpus_per_actor else "cpu")

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Encode the one part in `batch`; a user's mistake comes back as `error`, which Ray Data would disguise."""
        part = Part(*(batch[name].tolist()[0] for name in Part._fields))
        commit = _commit_uri(self.out, part.name)
        try:
            if not storage.exists(commit):  # a retried task may find its own earlier work
                storage.write_json(commit, self._encode(part))
        except UserError as error:
            return {"rows": [part.rows], "error": [str(error)]}
        return {"rows": [part.rows], "error": [""]}

    def _encode(self, part: Part) -> dict[str, Any]:
        ids, texts = corpora.read_texts(part)
        vectors = encode_texts(self.encoder, texts, self.config.role, self.config.encoding.batch_tokens)
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise UserError(f"--model {self.config.encoder.model} gives {ids[broken[0]]} a vector that is not finite")
        uri = embeddings.part_uri(self.out, part.name)
        return {"rows": part.rows, "sha256": embeddings.write_part(uri, ids, vectors, self.config.encoding.dtype)}


def _run(config: EncodeConfig, out: str, parts: list[Part], already: int, total: int) -> None:
    encoding = config.encoding
    work = ray.data.from_items([part._asdict() for part in parts], override_num_blocks=min(len(parts), BLOCKS))
    results = work.map_batches(
        PartEncoder,
        fn_constructor_kwargs={"config": config, "out": out},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(encoding.actors, len(parts))),
        num_cpus=encoding.cpus_per_actor,
        num_gpus=encoding.gpus_per_actor or None,
    )
    start, rows = time.monotonic(), 0
    for result in results.iter_rows():
        if result["error"]:
            raise UserError(result["error"])
        rows += result["rows"]
        rate = rows / (time.monotonic() - start)
        LOG.info("encoded %s of %s %s texts, %.0f/s", f"{already + rows:,}", f"{total:,}", config.role, rate)


def _settings(config: EncodeConfig, identity: Identity, corpus: Corpus) -> dict[str, Any]:
    return {
        **config.model_dump(mode="json", exclude={"out": True, "encoding": RESOURCES}),
        "corpus": storage.absolute(config.corpus),
        "files": storage.fingerprint([*corpus.files, *corpus.parts]),
        "model_fingerprint": identity.fingerprints[config.role],
    }


def _manifest(
    config: EncodeConfig, identity: Identity, corpus: Corpus, done: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    by_language: Counter[str] = Counter()
    for part in corpus.parts:
        by_language[part.language] += part.rows
    return {
        "model": config.encoder.model,
        "model_fingerprint": identity.fingerprints[config.role],
        "role": config.role,
        "width": identity.width,
        "dtype": config.encoding.dtype,
        "corpus": {"uri": storage.absolute(config.corpus), "files": len(corpus.files)},
        "rows": corpus.rows,
        "rows_by_language": dict(sorted(by_language.items())),
        "parts": [{"name": part.name, "language": part.language, **done[part.name]} for part in corpus.parts],
    }


def _commits(out: str) -> dict[str, dict[str, Any]]:
    """Part name to rows and sha256, of the parts that are complete."""
    fs, path = storage.filesystem(storage.join(out, "parts"))
    names = [name.rsplit("/", 1)[-1] for name in fs.ls(path, detail=False)] if fs.exists(path) else []
    parts = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return {part: storage.read_json(_commit_uri(out, part)) for part in parts}


def _commit_uri(out: str, name: str) -> str:
    return storage.join(out, "parts", f"{name}.json")
