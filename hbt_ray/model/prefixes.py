"""Prefixes and stored tokens: where the ids of a prefix and those of a text are the ids of both together, and what has
to be kept of a text where they are not.

A tokenizer that splits at white space before anything else, as those of XLM-R and BERT do, tokenises every word by
itself, so a prefix that ends in a space leaves the text's ids as they are. Others join the space and the text's first
word (GPT-2, Llama 3, Qwen, ModernBERT), or mark where a text begins (Llama 2, Gemma): they need the text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from hbt_ray.model.tokenizer import tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLIT_AT_SPACES = ("WhitespaceSplit", "Whitespace", "BertPreTokenizer")  # whose first step takes words apart
TYPICAL = ("query: ", "passage: ", "Instruct: Find the answer.\nQuery: ")
MARGIN = 64  # more of a text than its limit, since its ids behind a prefix may be fewer [tokens]
# Beginnings that may join what stands before them: spaces, marks, digits, signs, endings, words without spaces.
BEGINNINGS = (
    "", "a", "Zürich 東京?", " a", "  a  b", "\ta", "\n\na", "\u00a0a", "\u3000a", "\u0301a", "\u0338a", "\u0345a",
    "\u3099か", "\u200da", "\ufe0f", "\u11a8가", "1", "12 345", "007", ".", "?!", "'s", "'S a", "-5", "//", "://a",
    "_a", "##a", "▁a", "Ġa", "ß", "İ", "Σ", "ﬁ", "½", "東京タワー", "한국어", "ไทย", "नमस्ते", "مرحبا 12", "שלום",
    "👩\u200d🚀", "ies", "y",
)  # fmt: skip


def joins(tokenizer: PreTrainedTokenizerBase, prefix: str) -> bool:
    """Whether prefix and text have, together, the ids of the one and then of the other, for texts that begin in many
    ways; without a prefix they do."""
    if not prefix:
        return True
    texts = [*BEGINNINGS, *(f"{token} a" for token in tokenizer.all_special_tokens)]
    alone, together, (head,) = (
        tokenizer(some, add_special_tokens=False)["input_ids"]
        for some in (texts, [prefix + text for text in texts], [prefix])
    )
    return all([*head, *ids] == whole for ids, whole in zip(alone, together, strict=True))


def needs_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a store of this tokenizer keeps texts: it does not split at spaces first, a typical prefix changes its
    ids, or it cuts long texts at their beginning, where the prefix is."""
    first = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}  # type: ignore[attr-defined]
    while first.get("type") == "Sequence":
        first = next(iter(first["pretokenizers"]), {})
    apart = first.get("type") in SPLIT_AT_SPACES and all(joins(tokenizer, prefix) for prefix in TYPICAL)
    return not apart or tokenizer.truncation_side != "right"


def usable_texts(tokenizer: Tokenizer, texts: pa.StringArray, tokens: pa.ListArray) -> pa.StringArray:
    """What a run can use of each text, string [texts]: to the end of the word that is MARGIN tokens behind the limit.

    Words are what the tokenizer tokenises one by one, so what is left out has no part in the ids before it. One that
    does not split texts into words, or cuts them at their beginning, has all of them.

    Args:
        tokenizer: it has a limit [tokens].
        tokens: the texts' ids as it gives them, list<int32> [texts].
    """
    limit = dict(tokenizer.truncation or {})
    if limit["direction"] != "right":
        return texts
    place = limit["max_length"] + MARGIN
    full = (pc.list_value_length(tokens).to_numpy() == limit["max_length"]).nonzero()[0]
    unique = texts.take(pa.array(full)).dictionary_encode()
    tokenizer.no_truncation()
    shorter = []
    for text in unique.dictionary.to_pylist():
        found = tokenizer.encode(text, add_special_tokens=False)
        if len(found.ids) > place:
            words = found.word_ids
            last = next((number for number in range(place, len(words)) if words[number] != words[place]), len(words))
            text = text[: found.offsets[last - 1][1]]
        shorter.append(text)
    tokenizer.enable_truncation(**limit)
    where = np.zeros(len(texts), dtype=bool)
    where[full] = True
    replaced = pa.array(shorter, pa.string()).take(unique.indices)
    return pc.replace_with_mask(texts, pa.array(where), replaced)


def tokenize_with(
    tokenizer: Tokenizer, prefix: str, texts: pa.StringArray | pa.ListArray, max_tokens: int
) -> pa.ListArray:
    """The ids of prefix + text of each text, list<int32> [texts], without special tokens; of lists of texts,
    list<string> [lists], lists of ids, list<list<int32>> [lists].

    Args:
        tokenizer: one that cuts texts on its own side; its limit is set here.
        max_tokens: what was asked to be kept of a text [tokens]; the prefix comes on top of it.
    """
    if pa.types.is_list(texts.type):
        flat = tokenize_with(tokenizer, prefix, texts.flatten(), max_tokens)
        offsets = texts.offsets.to_numpy()
        return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), flat)
    side = (tokenizer.truncation or {})["direction"]
    tokenizer.no_truncation()
    of_prefix = len(tokenizer.encode(prefix, add_special_tokens=False).ids)
    tokenizer.enable_truncation(max_tokens + of_prefix, direction=side)
    return tokenize(tokenizer, pc.binary_join_element_wise(prefix, texts, ""))
