"""Encode a corpus exactly once: Ray Data runs the parts that no run has committed on actors that hold the model."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from typing import Any, NamedTuple

import ray.data
from torch import nn

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EncoderConfig
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode import embeddings, tokens
from hbt_ray.encode.corpus import Corpus
from hbt_ray.encode.part_encoder import PartEncoder
from hbt_ray.encode.rate import Rate
from hbt_ray.encode.spans import Part
from hbt_ray.encode.tokens import SerializedTokenizer, Tokenize
from hbt_ray.encode.update import plan
from hbt_ray.model.build import build_encoder, local_models
from hbt_ray.model.encoder import Role
from hbt_ray.model.prompts import tell
from hbt_ray.storage import parts
from hbt_ray.terminal import Progress

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
    from hbt_ray.model.weights import digest  # here, since it imports transformers

    encoder = build_encoder(config)
    tell(encoder.notes)
    tokenizer = tokens.serialize(encoder.tokenizer)
    common = {
        "weights": digest(encoder.model),
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


def about(identity: Identity, role: Role, dtype: str) -> dict[str, str]:
    """What a collection is of: two that are equal here hold the same vectors of a text."""
    return {"role": role, "dtype": dtype, "model_fingerprint": identity.fingerprints[role]}


def shared_folder(cache: str, identity: Identity, role: Role, dtype: str) -> str:
    """The collection of this encoder in a folder that has those of many [URI]."""
    return storage.join(cache, f"{role}-{storage.fingerprint(about(identity, role, dtype))}")


def encode_corpus(config: EncodeConfig, identity: Identity | None = None, among_others: bool = False) -> dict[str, Any]:
    """Make the collection `out` hold the texts of a corpus, encoding those that it has not, by this run or another.

    Several runs may be at work in it: each does what is left, and what is done twice counts once.

    Args:
        identity: identity of `config.encoder`, when the caller knows it already.
        among_others: whether the collection also has other corpora, each as versions of its own.

    Returns: `out`, `collection` (the version that has this corpus and nothing else [URI]), `rows` (in it), `encoded`
        (by this call), `removed` (that the version before has and the corpus has not), `width`, and `left_out`
        (documents whose ids come again).

    Raises:
        UserError: the corpus or the model is unusable, `out` is another's, or, unless `among_others`, what is there is
            of another corpus.
    """
    storage.refuse_overlap(config.out, [config.corpus, *local_models(config.encoder)])
    identity = identity or identify(config.encoder)
    whose = about(identity, config.role, config.encoding.dtype)
    corpus = corpora.scan_corpus(config.corpus, config.encoding.part_rows, config.language, config.duplicates, True)
    if corpus.duplicates:
        log.warning("%s documents are left out, whose ids come again", f"{corpus.duplicates:,}")
    update = plan(config.out, whose, corpus, config.encoding.part_rows, among_others)
    missing = update.missing()
    encoded = _run(config, identity, update.commits, missing, corpus) if missing else 0
    version = update.commit(manifest_body(config, identity, corpus))
    return {
        "out": config.out, "collection": version, "rows": corpus.rows, "encoded": encoded,
        "removed": update.changes.gone, "width": identity.width, "left_out": corpus.duplicates,
    }  # fmt: skip


def _run(config: EncodeConfig, identity: Identity, commits: str, missing: list[Part], corpus: Corpus) -> int:
    """Encode the parts: tasks read and tokenise ahead of the actors; a block between them is one part.

    Returns: how many texts were encoded here, and not meanwhile by another run.

    Raises:
        UserError: a part cannot be encoded.
    """
    encoding = config.encoding
    groups = [{"group": [part._asdict() for part in group]} for group in corpora.groups(missing)]
    first = secrets.randbelow(len(groups))  # of several runs, each begins elsewhere
    groups = [*groups[first:], *groups[:first]]
    fewest, most = (min(count, len(missing)) for count in encoding.actors)
    task = tokenize_task(config, identity)

    def pipeline(dataset: ray.data.Dataset) -> ray.data.Dataset:
        return dataset.map_batches(
            task,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=min(encoding.tokenizers * most, len(groups))),
            num_cpus=0,  # on a cluster whose CPUs the actors have reserved, tasks would wait for ever
        ).map_batches(
            PartEncoder,
            fn_constructor_kwargs={"config": config, "commits": commits},
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most),
            num_cpus=encoding.cpus_per_actor,
            num_gpus=encoding.gpus_per_actor or None,
        )

    rate = Rate(corpus.rows_by_language, missing, encoding.gpus_per_actor)
    done, encoded = corpus.rows - sum(part.rows for part in missing), 0

    def count(result: dict[str, Any]) -> None:
        nonlocal encoded
        encoded += result["encoded"]
        progress.advance(result["rows"], rate.after(result))

    with Progress(f"encode {config.role} texts", "texts", corpus.rows, done) as progress:
        parts.run(groups, pipeline, count, rows_apart=True)
    return encoded


def tokenize_task(config: EncodeConfig, identity: Identity) -> Tokenize:
    """The task that makes token ids of texts, which keeps the texts in the collection, and the token ids if wanted.

    Raises:
        UserError: kept token ids are another tokenizer's, or a prefix changes a text's.
    """
    task = Tokenize(identity.tokenizer, identity.prefixes[config.role], identity.limits[config.role], config.out)
    if config.tokens is None:
        return task
    kept, longest = tokens.kept_for(config.tokens, task.limit)
    template = tokens.template_of(task.tokenizer, task.prefix)
    tokens.claim_tokens(kept, task.tokenizer)
    return replace(task, kept=kept, longest=longest, template=template)


def manifest_body(config: EncodeConfig, identity: Identity, corpus: Corpus) -> dict[str, Any]:
    """What the manifest of a collection says of encoder and corpus."""
    return {
        "model": config.encoder.model,
        "encoder": config.encoder.model_dump(mode="json"),
        "width": identity.width,
        "stored": embeddings.FORMATS[config.encoding.dtype],
        "corpus": {
            "uri": config.corpus,
            "language": config.language,
            "files": len(corpus.files),
            "duplicates": config.duplicates,
            "left_out": corpus.duplicates,
        },
    }
