"""A rank's slice as tensors: prefix and special tokens are put around stored tokens, and all is padded.

It works on whole columns at a time: nothing here runs once a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from hbt_ray.batches.chunk import Slice
from hbt_ray.batches.wanted import Wanted
from hbt_ray.config.losses import Kinds
from hbt_ray.model import chunks
from hbt_ray.model.encoder import Encoder, Role
from hbt_ray.model.tokenizer import Template
from hbt_ray.train import keys
from hbt_ray.train.losses.objective import row_weights
from hbt_ray.train.losses.right_answers import NO_PASSAGE
from hbt_ray.train.losses.whole import Labels
from hbt_ray.train.teacher_vectors import TeacherVectors


class Batch(NamedTuple):
    """A rank's slice, ready for the model.

    Attributes:
        chunks: padded `input_ids` and `attention_mask`, int64 [texts, tokens], `unpooled`, int64 [texts] or None, as
            `Encoder.forward` wants them, and `seed`, an int for random numbers.
        order: where among the texts of all chunks is each text of the slice, int64 [texts]: the queries, then the
            positives, then the hard negatives of choice 0, 1, ...
        labels: what losses know of the rows.
        tokens: number of tokens in all chunks, padding left out.
        squares: sum of the squares of the texts' lengths [tokens^2].
        computed: number of tokens in all chunks, padding included.
    """

    chunks: list[dict[str, Any]]
    order: torch.Tensor
    labels: Labels
    tokens: int
    squares: int
    computed: int


class Collator:
    """Makes batches of slices."""

    def __init__(
        self,
        encoder: Encoder,
        wanted: Wanted,
        device: torch.device,
        chunk_tokens: int,
        agree: Callable[[list[int]], list[int]] = list,
        losses: Sequence[Kinds] = (),
        teacher: TeacherVectors | None = None,
    ) -> None:
        """Set up the templates of `encoder`, which pads the texts.

        Args:
            wanted: what the slices were read with: texts that were tokenised with a prefix get no other.
            chunk_tokens: largest chunk, padding included, if it has more than one text [tokens].
            agree: gives the largest of each number over all ranks, which need the same number of chunks.
            losses: that the batches are for.
            teacher: whose vectors of the texts one of these follows.
        """
        padding = encoder.tokenizer.pad_token_id
        plain = Template(encoder.tokenizer)

        def padder(role: Role, prefix: str, source: str = "") -> Padder:
            has_prefix = wanted.prefix(role, source) is not None
            template = plain if has_prefix else Template(encoder.tokenizer, prefix)
            return Padder(template, encoder.limits[role], padding, encoder.left_out(prefix))

        self._query = padder("query", encoder.prefixes["query"])
        self._passage = padder("passage", encoder.prefixes["passage"])
        self._of_source = {source: padder("query", text, source) for source, text in encoder.instructions.items()}
        self._wanted = wanted
        self._losses = losses
        self._teacher = teacher
        self._tokenizer = encoder.tokenizer
        self._device = device
        self._chunk_tokens = chunk_tokens
        self._agree = agree

    def __call__(self, part: Slice, seed: int = 0) -> Batch:
        """The slice as a batch; `seed` is the first chunk's, and each next one has one more."""
        passages = part.pairs["passage"].combine_chunks()
        there = np.ones(len(passages), dtype=bool)
        if self._wanted.negatives:
            negatives, found = _negatives(part, self._wanted.negatives)
            there = np.concatenate([there, found])
            passages = pa.concat_arrays([passages, negatives])
        texts = [self._queries(part), self._passage(passages)]
        cuts = [chunks.cut_chunks(one.lengths, self._chunk_tokens) for one in texts]
        counts = self._agree([len(cut) for cut in cuts])
        cuts = [chunks.into_chunks(cut, count) for cut, count in zip(cuts, counts, strict=True)]
        place = np.concatenate([*cuts[0], *(some + len(texts[0].ids) for some in cuts[1])])
        order = np.empty_like(place)
        order[place] = np.arange(len(place))
        inputs = [self._chunk(one, some) for one, cut in zip(texts, cuts, strict=True) for some in cut]
        return Batch(
            [{**chunk, "seed": seed + number} for number, chunk in enumerate(inputs)],
            self._to_device(order),
            self._labels(part, np.where(there, _keys(texts[1]), NO_PASSAGE), passages),
            tokens=sum(int(one.lengths.sum()) for one in texts),
            squares=sum(int((one.lengths.astype(np.int64) ** 2).sum()) for one in texts),
            computed=sum(chunk["input_ids"].numel() for chunk in inputs),
        )

    def _labels(self, part: Slice, passage_keys: np.ndarray, passages: pa.ListArray) -> Labels:
        """What losses know of the rows, of whose passages and hard negatives these are the keys and the texts."""
        queries = part.pairs["query"].combine_chunks()
        by_source = bool(self._wanted.query_prefixes) or any(one.sources for one in self._losses)
        sources = _sources(part) if by_source else None
        weights = None if sources is None else row_weights(self._losses, sources)
        scores = _scores(part, self._wanted.negatives) if self._wanted.scores else None
        query_keys = keys.of_lists(queries, self._prefix_tokens("query", queries, sources))
        vectors = None
        if self._teacher is not None:
            plain = keys.of_lists(passages, self._prefix_tokens("passage", passages, None))
            vectors = np.concatenate([self._teacher("query", query_keys), self._teacher("passage", plain)])
        return Labels(
            self._to_device(part.pairs["group"].to_numpy().copy()),
            self._to_device(query_keys),
            self._to_device(passage_keys),
            None if weights is None else self._to_device(weights),
            None if scores is None else self._to_device(scores),
            None if vectors is None else self._to_device(vectors),
        )

    def _prefix_tokens(self, role: Role, texts: pa.ListArray, sources: np.ndarray | None) -> np.ndarray:
        """How many tokens of each stored text are its prefix, int64 [texts]: none where it was tokenised without."""
        found = np.zeros(len(texts), dtype=np.int64)
        for source in [""] if sources is None else np.unique(sources):
            prefix = self._wanted.prefix(role, source)
            if prefix is not None:
                ids = self._tokenizer(prefix, add_special_tokens=False)["input_ids"]
                of_source = slice(None) if sources is None else sources == source
                found[of_source] = keys.tokens_shared(texts, ids)[of_source]
        return found

    def _queries(self, part: Slice) -> Padded:
        """The queries, those of each source with its instruction."""
        texts = part.pairs["query"].combine_chunks()
        if not self._of_source:
            return self._query(texts)
        sources = _sources(part)
        found = []
        for source in np.unique(sources):
            rows = np.flatnonzero(sources == source)
            found.append((rows, self._of_source.get(source, self._query)(texts.take(pa.array(rows)))))
        width = max(padded.ids.shape[1] for _, padded in found)
        ids = np.full((len(texts), width), found[0][1].padding, dtype=np.int64)
        lengths, unpooled = np.zeros((2, len(texts)), dtype=np.int64)
        for rows, padded in found:
            ids[rows, : padded.ids.shape[1]] = padded.ids
            lengths[rows] = padded.lengths
            unpooled[rows] = padded.unpooled
        return Padded(ids, lengths, unpooled, found[0][1].padding)

    def _chunk(self, texts: Padded, rows: np.ndarray) -> dict[str, Any]:
        lengths = texts.lengths[rows]
        width = int(lengths.max(initial=1))
        whole = len(rows) == len(texts.ids) and width == texts.ids.shape[1]  # one chunk, in the order as it came
        ids = texts.ids if whole else texts.ids[rows, :width]
        mask = torch.from_numpy(np.arange(width) < lengths[:, None]).long()
        unpooled = torch.from_numpy(texts.unpooled[rows]) if texts.unpooled.any() else None
        # mask and numbers stay on the CPU, which packs without waiting for the GPU
        return {"input_ids": self._to_device(ids), "attention_mask": mask, "unpooled": unpooled}

    def _to_device(self, values: np.ndarray) -> torch.Tensor:
        """Copy an array to the device while the GPU goes on with the step before."""
        tensor = torch.from_numpy(values)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)


class Padded(NamedTuple):
    """Texts with prefix and special tokens around them, padded.

    Attributes:
        ids: token ids, int64 [texts, longest].
        lengths: length of each text without padding, int [texts].
        unpooled: number of tokens at the beginning of each text that pooling leaves out, int64 [texts].
        padding: token id that fills the rest.
    """

    ids: np.ndarray
    lengths: np.ndarray
    unpooled: np.ndarray
    padding: int


class Padder:
    """Makes padded arrays of the stored texts of one role."""

    def __init__(self, template: Template, limit: int, padding: int, unpooled: int = 0) -> None:
        self._unpooled = unpooled
        self._template = template
        self._room = max(limit - len(template.head) - len(template.tail), 0)
        self._padding = padding

    def __call__(self, texts: pa.ListArray) -> Padded:
        """The texts, list<int32> [texts] without special tokens, in their template and padded to the longest."""
        head, tail = self._template.head, self._template.tail
        offsets = texts.offsets.to_numpy()
        lengths = np.minimum(offsets[1:] - offsets[:-1], self._room)
        ends = lengths + len(head)
        column = np.arange(ends.max(initial=1) + len(tail), dtype=np.int32)
        ids = np.full((len(texts), len(column)), self._padding, dtype=np.int64)
        ids[:, : len(head)] = head
        text = column < ends[:, None]
        text[:, : len(head)] = False
        starts = offsets[:-1] if self._template.side == "right" else offsets[1:] - lengths
        ids[text] = texts.values.to_numpy()[_places(starts, lengths)]
        for place, token in enumerate(tail):
            ids[np.arange(len(ids)), ends + place] = token
        return Padded(ids, ends + len(tail), np.full(len(ids), self._unpooled, dtype=np.int64), self._padding)


def _places(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray | slice:
    """Where the values of runs of `lengths` from `starts` are: a slice when they follow each other."""
    if len(starts) and (starts[1:] == starts[:-1] + lengths[:-1]).all():
        return slice(int(starts[0]), int(starts[-1] + lengths[-1]))
    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())


def _sources(part: Slice) -> np.ndarray:
    """The source of each row, str [rows]."""
    return np.array(part.pairs["source"].to_pylist())


def _keys(texts: Padded) -> np.ndarray:
    """The key of each text, int64 [texts]."""
    return keys.of_padded(texts.ids, texts.lengths, texts.padding)


def _negatives(part: Slice, count: int) -> tuple[pa.ListArray, np.ndarray]:
    """`count` hard negatives of each row, those of choice 0 first, and which of them are there; others are empty."""
    lists = part.pairs["negatives"].combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    choice = np.arange(count)[:, None]
    there = choice < np.diff(offsets)
    chosen = np.where(there, offsets[:-1] + choice, 0)
    picked = lists.values.take(pa.array(chosen.ravel(), mask=~there.ravel()))
    return picked.fill_null([]), there.ravel()


def _scores(part: Slice, count: int) -> np.ndarray:
    """The scores of each row's passage and `count` hard negatives, fp32 [rows, 1 + count], NaN where there is none."""
    lists = part.pairs["scores"].combine_chunks()
    lengths = np.diff(lists.offsets.to_numpy())
    found = np.full((len(lists), 1 + count), np.nan, dtype=np.float32)
    found[np.arange(1 + count) < lengths[:, None]] = lists.flatten().to_numpy()
    return found
