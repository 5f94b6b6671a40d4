"""Encode a corpus exactly once: Ray Data runs the parts that no earlier run committed on actors that hold the model."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import Any, NamedTuple

import ray.data
import torch
from torch import nn

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EncoderConfig
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode import embeddings, tokens
from hbt_ray.encode.corpus import Corpus, Part
from hbt_ray.encode.part_encoder import PartEncoder
from hbt_ray.encode.rate import Rate
from hbt_ray.encode.tokens import SerializedTokenizer, Tokenize
from hbt_ray.model.build import build_encoder, local_models
from hbt_ray.model.encoder import Role
from hbt_ray.model.prompts import tell
from hbt_ray.storage import parts
from hbt_ray.storage.parts import Parts
from hbt_ray.terminal import Progress

OWNS = ("parts", "manifest.json")  # what it makes in its folder
log = logging.getLogger(__name__)


class Identity(NamedTuple):
    """What vectors depend on besides the text: two equal fingerprints, the same vectors.

    Attributes:
        width: length of a vector.
        fingerprints: role to a hash of weights, tokenizer, modules, precision, prefix and length limit.
        tokenizer: the model's tokenizer.
        prefixes: role to the text put before every text.
        limits: role to the longest text, prefix and special tokens included [tokens].
    """

    width: int
    fingerprints: dict[Role, str]
    tokenizer: SerializedTokenizer
    prefixes: dict[Role, str]
    limits: dict[Role, int]


def identify(config: EncoderConfig) -> Identity:
    """Load the model once to know what it is.

    Raises:
        UserError: it is not a model.
    """
    encoder = build_encoder(config)
    tell(encoder.notes)
    weights = hashlib.sha256()
    for name, tensor in sorted(encoder.model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().contiguous().view(torch.uint8).numpy() if tensor.ndim else tensor.numpy())
    tokenizer = tokens.serialize(encoder.tokenizer)
    common = {
        "weights": weights.hexdigest(),
        "tokenizer": tokenizer.fingerprint,
        "modules": [
            [type(module).__name__, getattr(module, "pooling_mode", None), *_unlike(module)] for module in encoder.model
        ],
        **({"truncate_dim": encoder.model.truncate_dim} if encoder.model.truncate_dim is not None else {}),
        "precision": config.precision,
    }
    roles: tuple[Role, ...] = ("query", "passage")
    fingerprints = {
        role: storage.fingerprint(
            {**common, "role": role, "prefix": encoder.prefixes[role], "limit": encoder.limits[role]}
        )
        for role in roles
    }
    return Identity(encoder.width, fingerprints, tokenizer, encoder.prefixes, encoder.limits)


def _unlike(module: nn.Module) -> list[str]:
    """What of a module decides vectors beside its weights and its pooling mode."""
    if not getattr(module, "include_prompt", True):
        return ["include_prompt: false"]
    return [str(module.activation_function)] if hasattr(module, "activation_function") else []


def encode_corpus(config: EncodeConfig, identity: Identity | None = None) -> dict[str, Any]:
    """Encode the texts of a corpus into `<out>/parts`, doing only what an earlier run of the same settings left.

    Args:
        identity: identity of `config.encoder`, when the caller knows it already.

    Returns: `out`, `rows` (in the folder), `encoded` (by this call), `width`, and `left_out` (documents whose ids come
        again).

    Raises:
        UserError: the corpus or the model is unusable, or `out` holds another run.
    """
    storage.refuse_overlap(config.out, [config.corpus, *local_models(config.encoder)])
    identity = identity or identify(config.encoder)
    corpus = corpora.scan_corpus(config.corpus, config.encoding.part_rows, config.language, config.duplicates)
    if corpus.duplicates:
        log.warning("%s documents are left out, whose ids come again", f"{corpus.duplicates:,}")
    task = Tokenize(identity.tokenizer, identity.prefixes[config.role], identity.limits[config.role])
    if config.tokens is not None:
        kept, longest = tokens.kept_for(config.tokens, task.limit)
        template = tokens.template_of(task.tokenizer, task.prefix)
        task = replace(task, kept=kept, longest=longest, template=template)
        tokens.claim_tokens(kept, task.tokenizer, corpus, config.encoding.part_rows)
    made = Parts(storage.join(config.out, "parts"), [part.name for part in corpus.parts])
    with storage.claimed(config.out, "encode", _settings(config, identity, corpus), OWNS):
        missing = [corpus.parts[number] for number in made.missing()]
        if missing:
            _run(config, made.folder, missing, task, corpus)
        if missing or not storage.committed(config.out):
            storage.commit(config.out, "embeddings", _manifest(config, identity, corpus, made))
    if task.kept is not None:
        tokens.commit_tokens(task.kept, task.tokenizer, corpus, task.longest)
    encoded = sum(part.rows for part in missing)
    return {
        "out": config.out, "rows": corpus.rows, "encoded": encoded, "width": identity.width,
        "left_out": corpus.duplicates,
    }  # fmt: skip


def _run(config: EncodeConfig, folder: str, missing: list[Part], task: Tokenize, corpus: Corpus) -> None:
    """Encode the parts into the folder: tasks read and tokenise ahead of the actors; a block between them is one part.

    Raises:
        UserError: a part cannot be encoded.
    """
    encoding = config.encoding
    groups = [{"group": [part._asdict() for part in group]} for group in corpora.groups(missing)]
    fewest, most = (min(count, len(missing)) for count in encoding.actors)

    def pipeline(dataset: ray.data.Dataset) -> ray.data.Dataset:
        return dataset.map_batches(
            task,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=min(encoding.tokenizers * most, len(groups))),
            num_cpus=0,  # on a cluster whose CPUs the actors have reserved, tasks would wait for ever
        ).map_batches(
            PartEncoder,
            fn_constructor_kwargs={"config": config, "folder": folder},
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most),
            num_cpus=encoding.cpus_per_actor,
            num_gpus=encoding.gpus_per_actor or None,
        )

    rate = Rate(corpus.rows_by_language, missing, encoding.gpus_per_actor)
    done = corpus.rows - sum(part.rows for part in missing)
    with Progress(f"encode {config.role} texts", "texts", corpus.rows, done) as progress:
        parts.run(
            groups, pipeline, lambda result: progress.advance(result["rows"], rate.after(result)), rows_apart=True
        )


def _settings(config: EncodeConfig, identity: Identity, corpus: Corpus) -> dict[str, Any]:
    # what is left out shows in the parts
    without: dict[str, Any] = {"out": True, "tokens": True, "duplicates": True, "encoding": set(config.encoding.FREE)}
    return {
        **config.model_dump(mode="json", exclude=without),
        "files": tokens.corpus_fingerprint(corpus),
        "model_fingerprint": identity.fingerprints[config.role],
    }


def _manifest(config: EncodeConfig, identity: Identity, corpus: Corpus, made: Parts) -> dict[str, Any]:
    return {
        "model": config.encoder.model,
        "encoder": config.encoder.model_dump(mode="json"),
        "model_fingerprint": identity.fingerprints[config.role],
        "role": config.role,
        "width": identity.width,
        "dtype": config.encoding.dtype,
        "stored": embeddings.FORMATS[config.encoding.dtype],
        "corpus": {
            "uri": config.corpus,
            "language": config.language,
            "files": len(corpus.files),
            "duplicates": config.duplicates,
            "left_out": corpus.duplicates,
        },
        "rows": corpus.rows,
        "rows_by_language": corpus.rows_by_language,
        "parts": [
            {"name": part.name, "language": part.language, **commit}
            for part, commit in zip(corpus.parts, made.commits(), strict=True)
        ],
    }
