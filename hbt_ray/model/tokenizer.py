"""Tokenizers: loading, learning a Unigram vocabulary, and the fingerprint that ties a store to a model."""

from __future__ import annotations

import io
import json
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.model.files import ModelFiles, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

TOGETHER = 512  # texts given to the tokenizer, which takes some hundred bytes a token while it works
SPECIALS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub id or a folder.

    Raises:
        UserError: there is none, or it has no fast (Rust) form.
    """
    from transformers import AutoTokenizer  # here, since it loads torch, which most processes do without

    try:
        files = ModelFiles(name)
        tokenizer = AutoTokenizer.from_pretrained(files.path, subfolder=files.transformer)
    except Exception as error:  # of whatever kind: files that are no tokenizer break anywhere in the library
        raise UserError(f"no tokenizer at {name}: {one_line(error)}") from None
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(f"the tokenizer of {name} has no fast form")
    return tokenizer


def learn(texts: Iterable[str], pieces: int) -> PreTrainedTokenizerFast:
    """Learn an XLM-R-like Unigram tokenizer (NFKC, metaspace, `<s> text </s>`) of at most `pieces` pieces.

    sentencepiece learns the vocabulary because its result depends on the texts alone; tokenizers applies it.
    """
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    learned = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(normalizer.normalize_str(text) for text in texts),
        model_writer=learned,
        vocab_size=pieces,
        hard_vocab_limit=False,
        character_coverage=0.9995,
        normalization_rule_name="identity",
        max_sentence_length=16384,
        num_threads=1,
        pad_id=1,
        unk_id=3,
        bos_id=0,
        eos_id=2,
        user_defined_symbols=[SPECIALS["mask_token"]],
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=learned.getvalue())
    vocabulary = [(model.id_to_piece(i), model.get_score(i)) for i in range(model.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=model.unk_id()))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", model.bos_id()), ("</s>", model.eos_id())]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **SPECIALS)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of what decides the tokens: vocabulary, normalisation, special tokens, and the side that is cut if it is
    not the right one; not padding, nor a limit."""
    settings = json.loads(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    told = {key: value for key, value in settings.items() if key not in ("padding", "truncation")}
    side = tokenizer.truncation_side
    return storage.fingerprint(told if side == "right" else {**told, "truncation_side": side})


def cutter(folder: str, max_tokens: int) -> Tokenizer:
    """The tokenizer in a store's folder as `tokenize` wants it, which cuts texts at `max_tokens` [tokens]."""
    folder = storage.local_copy(folder)
    found = Tokenizer.from_file(storage.join(folder, "tokenizer.json"))
    settings = storage.read_json(storage.join(folder, "tokenizer_config.json"))
    found.enable_truncation(max_tokens, direction=settings.get("truncation_side", "right"))
    found.no_padding()
    return found


def tokenize(tokenizer: Tokenizer, texts: pa.StringArray, special_tokens: bool = False) -> pa.ListArray:
    """The token ids of each text, list<int32> [texts] of string [texts]; special tokens are added only if asked for."""
    return tokenize_and_count(tokenizer, texts, special_tokens)[0]


def tokenize_and_count(
    tokenizer: Tokenizer, texts: pa.StringArray, special_tokens: bool = False
) -> tuple[pa.ListArray, int]:
    """What `tokenize` gives, and how many of the texts were cut."""
    limit = (tokenizer.truncation or {}).get("max_length")
    unique = texts.dictionary_encode()  # the passage of several queries is tokenised once
    flat, ends, cut = array("i"), array("i", [0]), array("b")
    for start in range(0, len(unique.dictionary), TOGETHER):
        batch = unique.dictionary.slice(start, TOGETHER).to_pylist()
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=special_tokens):
            flat.extend(encoding.ids)
            ends.append(len(flat))
            cut.append(len(encoding.ids) == limit and bool(encoding.overflowing))
    tokens = (pa.array(np.array(numbers, dtype=np.int32)) for numbers in (ends, flat))
    were_cut = np.array(cut, dtype=bool)[unique.indices.drop_null().to_numpy()]
    return pa.ListArray.from_arrays(*tokens).take(unique.indices), int(were_cut.sum())


class Template:
    """What is put around the tokens of a text: a tokenizer's special tokens, and a prefix in front of it.

    Attributes:
        head, tail: token ids before and after the text, int32 [tokens].
        side: where a text is cut, `right` or `left`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prefix: str = "") -> None:
        """Find out what the tokenizer puts around a text; `prefix` joins it, as `prefixes.joins` says."""
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        full = tokenizer("a")["input_ids"]
        start = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        prefix_ids = tokenizer(prefix, add_special_tokens=False)["input_ids"] if prefix else []
        self.head = np.asarray([*full[:start], *prefix_ids], dtype=np.int32)
        self.tail = np.asarray(full[start + len(bare) :], dtype=np.int32)
        self.side: str = tokenizer.truncation_side

    def apply(self, tokens: np.ndarray, max_tokens: int) -> np.ndarray:
        """`head + tokens + tail`, int32 [tokens], the text cut so that all has at most `max_tokens`.

        Args:
            tokens: the text's own ids, int32 [tokens].
        """
        room = max_tokens - len(self.head) - len(self.tail)
        return np.concatenate([self.head, tokens[: max(room, 0)], self.tail]).astype(np.int32)
