"""Small tokenizers of the kinds that published encoders have, learned on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hbt_ray.data.sources import world_facts
from hbt_ray.model.tokenizer import SPECIALS, learn

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PIECES = 1000


@cache
def sample() -> list[str]:
    facts = world_facts.fact_rows("train")
    texts = [str(text) for name in ("query", "passage") for text in facts[name].to_pylist()[:4000:5]]
    return [*texts, *(f"query: {text}" for text in texts[::3]), *(f"passage: {text}'s 12 345\n\n  a" for text in texts)]


def finished(tokenizer: Tokenizer, begin: str, end: str) -> PreTrainedTokenizerFast:
    """With special tokens around a text: `begin` and `end` are "" or one of them."""
    around = " ".join(filter(None, [begin, "$A", end]))
    used = [(token, tokenizer.token_to_id(token)) for token in (begin, end) if token]
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=used)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIALS)


def byte_level(split: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = split, decoders.ByteLevel()
    if normalizer is not None:
        made.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, special_tokens=[*SPECIALS.values()], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(sample(), trainer)
    return made


def gpt2() -> PreTrainedTokenizerFast:
    return finished(byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), None), "", "")


def qwen() -> PreTrainedTokenizerFast:
    split = pre_tokenizers.Split(Regex(QWEN), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return finished(byte_level(pre_tokenizers.Sequence([split, bytes_]), normalizers.NFC()), "", "</s>")


def left() -> PreTrainedTokenizerFast:
    made = qwen()
    made.truncation_side = "left"
    return made


def unigram() -> PreTrainedTokenizerFast:
    return learn(sample(), PIECES)


def metaspace() -> PreTrainedTokenizerFast:
    made = learn(sample(), PIECES)
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


def xlm_roberta() -> PreTrainedTokenizerFast:
    """With sentencepiece's own normaliser, `<mask>` that takes the space before it, and spaces split off first."""
    learned = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample()),
        model_writer=learned,
        vocab_size=PIECES,
        normalization_rule_name="nmt_nfkc",
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=learned.getvalue())
    pieces = [(model.id_to_piece(number), model.get_score(number)) for number in range(3, model.get_piece_size())]
    specials = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    made = Tokenizer(models.Unigram([*specials, *pieces, ("<mask>", 0.0)], unk_id=3))
    made.normalizer = normalizers.Precompiled(_charsmap(learned.getvalue()))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return finished(made, "<s>", "</s>")


def _charsmap(proto: bytes) -> bytes:
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto()
    model.ParseFromString(proto)
    return bytes(model.normalizer_spec.precompiled_charsmap)


def wordpiece(lowercase: bool = True) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        sample(),
        trainers.WordPieceTrainer(vocab_size=PIECES, special_tokens=[*SPECIALS.values()], show_progress=False),
    )
    return finished(made, "<s>", "</s>")


def _byte_fallback() -> Tokenizer:
    """sentencepiece's BPE with bytes for what it has no piece for."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Replace(" ", "▁")
    specials = [*SPECIALS.values(), *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES + 256, special_tokens=specials, limit_alphabet=80, max_token_length=12, show_progress=False
    )
    made.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")  # to learn; it then goes
    made.train_from_iterator(sample(), trainer)
    made.model.byte_fallback = True
    made.model.fuse_unk = True
    made.model.unk_token = "<unk>"
    return made


def gemma() -> PreTrainedTokenizerFast:
    made = _byte_fallback()
    made.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    return finished(made, "<s>", "</s>")


def llama2() -> PreTrainedTokenizerFast:
    made = _byte_fallback()
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return finished(made, "<s>", "")


KINDS: dict[str, tuple[Callable[[], PreTrainedTokenizerFast], bool]] = {
    "gpt2": (gpt2, True),
    "qwen": (qwen, True),
    "left": (left, True),
    "gemma": (gemma, True),
    "llama2": (llama2, True),
    "metaspace": (metaspace, True),
    "unigram": (unigram, False),
    "xlm-roberta": (xlm_roberta, False),
    "wordpiece": (wordpiece, False),
    "wordpiece-cased": (lambda: wordpiece(False), False),
}  # how each is made, and whether it needs texts


@cache
def made(kind: str) -> PreTrainedTokenizerBase:
    return KINDS[kind][0]()
