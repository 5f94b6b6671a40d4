"""Encode a corpus exactly once: Ray Data runs the parts that no earlier run committed on actors that hold the model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, NamedTuple

import ray.data
import torch
from ray.data import DataContext

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EncoderConfig, UserError
from hbt_ray.index import corpus as corpora
from hbt_ray.index import embeddings, tokens
from hbt_ray.index.corpus import Corpus, Part
from hbt_ray.index.part_encoder import PartEncoder
from hbt_ray.index.progress import Progress
from hbt_ray.index.tokens import Rules, Tokenize
from hbt_ray.train.encoder import Role
from hbt_ray.train.models import build

BLOCKS = 1000  # of parts given to Ray Data: its start slows down with their number

# Fields that say where and how fast a text is encoded, and so may change between a run and its resumption.
RESOURCES = {"actors", "gpus_per_actor", "cpus_per_actor", "tokenizers", "batch_tokens"}


class Identity(NamedTuple):
    """What vectors depend on besides the text: two equal fingerprints, the same vectors.

    Attributes:
        width: length of a vector.
        fingerprints: role to a hash of weights, tokenizer, modules, precision, prefix and length limit.
        rules: of the tokenizer.
        prefixes: role to the text put before every text.
        limits: role to the longest text, prefix and special tokens included [tokens].
    """

    width: int
    fingerprints: dict[Role, str]
    rules: Rules
    prefixes: dict[Role, str]
    limits: dict[Role, int]


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
    rules = tokens.rules(encoder.tokenizer)
    common = {
        "weights": weights.hexdigest(),
        "tokenizer": rules.fingerprint,
        "modules": [[type(module).__name__, getattr(module, "pooling_mode", None)] for module in encoder.model],
        "precision": config.precision,
    }
    roles: tuple[Role, ...] = ("query", "passage")
    fingerprints = {
        role: storage.fingerprint(
            {**common, "role": role, "prefix": encoder.prefixes[role], "limit": encoder.limits[role]}
        )
        for role in roles
    }
    return Identity(encoder.width, fingerprints, rules, encoder.prefixes, encoder.limits)


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
    corpus = corpora.scan(storage.absolute(config.corpus), config.encoding.part_rows, config.language)
    storage.claim(out, "encode", _settings(config, identity, corpus))
    task = Tokenize(identity.rules, identity.prefixes[config.role], identity.limits[config.role])
    if config.tokens is not None:
        kept = storage.absolute(config.tokens)
        task = replace(task, kept=kept, frame=tokens.frame(task.rules, task.prefix))
        tokens.claim(kept, task.rules, corpus, config.encoding.part_rows)
    done = tokens.commits(out)
    missing = [part for part in corpus.parts if done.get(part.name, {}).get("rows") != part.rows]
    if missing:
        progress = Progress(config.role, corpus.rows_by_language, missing, config.encoding.gpus_per_actor)
        _run(config, out, missing, task, progress)
        done = tokens.commits(out)
    if missing or not storage.committed(out):
        storage.commit(out, "embeddings", _manifest(config, identity, corpus, done))
    if task.kept is not None:
        tokens.commit(task.kept, task.rules, corpus)
    encoded = sum(part.rows for part in missing)
    return {"out": config.out, "rows": corpus.rows, "encoded": encoded, "width": identity.width}


def _run(config: EncodeConfig, out: str, parts: list[Part], task: Tokenize, progress: Progress) -> None:
    """Tasks read and tokenise ahead of the actors; a block between them is one part.

    Raises:
        UserError: a part cannot be encoded.
    """
    encoding = config.encoding
    groups = [{"group": [part._asdict() for part in group]} for group in corpora.groups(parts)]
    context = DataContext.get_current().copy()
    context.target_max_block_size = 1
    with DataContext.current(context):
        work = ray.data.from_items(groups, override_num_blocks=min(len(groups), BLOCKS))
        fewest, most = (min(count, len(parts)) for count in encoding.actors)
        results = work.map_batches(
            task,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=min(encoding.tokenizers * most, len(groups))),
            num_cpus=0,  # on a cluster whose CPUs the actors have reserved, tasks would wait for ever
            scheduling_strategy="SPREAD",  # also what keeps Ray from running them within the actors
        ).map_batches(
            PartEncoder,
            fn_constructor_kwargs={"config": config, "out": out},
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most),
            num_cpus=encoding.cpus_per_actor,
            num_gpus=encoding.gpus_per_actor or None,
        )
        for result in results.iter_rows():
            if result["error"]:
                raise UserError(result["error"])
            progress.add(result)


def _settings(config: EncodeConfig, identity: Identity, corpus: Corpus) -> dict[str, Any]:
    return {
        **config.model_dump(mode="json", exclude={"out": True, "tokens": True, "encoding": RESOURCES}),
        "corpus": storage.absolute(config.corpus),
        "files": tokens.fingerprint(corpus),
        "model_fingerprint": identity.fingerprints[config.role],
    }


def _manifest(
    config: EncodeConfig, identity: Identity, corpus: Corpus, done: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    return {
        "model": config.encoder.model,
        "model_fingerprint": identity.fingerprints[config.role],
        "role": config.role,
        "width": identity.width,
        "dtype": config.encoding.dtype,
        "stored": embeddings.FORMATS[config.encoding.dtype],
        "corpus": {"uri": storage.absolute(config.corpus), "language": config.language, "files": len(corpus.files)},
        "rows": corpus.rows,
        "rows_by_language": corpus.rows_by_language,
        "parts": [{"name": part.name, "language": part.language, **done[part.name]} for part in corpus.parts],
    }
