"""The texts of documents that an index knows by id only, from the corpus they were encoded from."""

from __future__ import annotations

from collections.abc import Collection

import ray

from hbt_ray import storage
from hbt_ray.config import Duplicates, UserError
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode.corpus import Part
from hbt_ray.languages import canonical_id

PART_ROWS = 65536  # of what a task reads


def of(embeddings: str, ids: Collection[str]) -> dict[str, str]:
    """The text of each document, title in front, as it was encoded, by id; one pass over the languages of `ids`.

    Args:
        embeddings: folder that `encode` wrote [URI].
        ids: the documents (`lang:docid`).

    Raises:
        UserError: embeddings or corpus are not there any more, or the corpus has changed.
    """
    about = storage.read_manifest(embeddings, "embeddings")["corpus"]
    return of_corpus(about["uri"], about["language"], ids, about.get("duplicates", "error"))


def of_corpus(uri: str, language: str | None, ids: Collection[str], duplicates: Duplicates = "error") -> dict[str, str]:
    """The text of each document, as `of` gives it, from the corpus at `uri`.

    Args:
        language: language of files that do not tell it.
        duplicates: what is done about ids that occur twice, as `scan_corpus` has it.

    Raises:
        UserError: the corpus is not usable, or does not have all of `ids`.
    """
    corpus = corpora.scan_corpus(uri, PART_ROWS, language, duplicates)
    ours = {key: canonical_id(key) for key in ids}  # embeddings may be of a time when tags were kept as they were
    languages = {key.partition(":")[0] for key in ours.values()}
    groups = corpora.groups([part for part in corpus.parts if part.language in languages])
    wanted = ray.put(frozenset(ours.values()))
    task = ray.remote(_chosen)
    found: dict[str, str] = {}
    for texts in ray.get([task.remote(group, wanted) for group in groups]):
        found |= texts
    if missing := set(ours.values()) - found.keys():
        raise UserError(f"{uri} has no document {min(missing)}: it is another corpus, or has changed since")
    return {key: found[document] for key, document in ours.items()}


def _chosen(group: list[Part], wanted: frozenset[str]) -> dict[str, str]:
    return {
        key: text
        for ids, texts in corpora.read_texts(group)
        for key, text in zip(ids, texts, strict=True)
        if key in wanted
    }
