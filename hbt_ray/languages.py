"""Language tags: BCP-47 primary subtag, with a script subtag where it matters (`de`, `zh-Hant`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

PRIVATE = "-x-"  # as BCP-47 has it
# scripts of living languages that Unicode's bidirectional algorithm (UAX 9) sets from right to left
RIGHT_TO_LEFT = frozenset(["Adlm", "Arab", "Aran", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi"])
NO_LANGUAGE = frozenset(["nan", "mul", "mis", "zxx", "und"])


@lru_cache(maxsize=4096)
def normalize(tag: str) -> str | None:
    """The tag as this project writes it, or None when it names no language.

    Old and three-letter codes become the current short one (`eng` is `en`, `cmn` is `zh`), a region is dropped
    (`pt-BR` is `pt`), a script is kept unless it is the language's usual one (`zh-TW` is `zh-Hant`, `zh-Hans` is `zh`).
    `nan` is what tables write for a missing value, not Min Nan, which `nan-Hant` names; `mul` and its like name none.
    """
    import langcodes  # here and below, since most processes meet no tag that is not normal already

    if tag.strip().lower() in NO_LANGUAGE:
        return None
    try:
        language = langcodes.Language.get(langcodes.standardize_tag(tag.strip(), macro=True))
    except langcodes.LanguageTagError:
        return None
    if not language.language or not language.is_valid():
        return None
    script = language.maximize().script  # also what the region tells: Traditional characters in zh-TW
    usual = langcodes.Language.make(language=language.language).maximize().script
    return language.language if script in (None, usual) else f"{language.language}-{script}"


@lru_cache(maxsize=4096)
def canonical(tag: str) -> str:
    """The tag as this project writes it; one that names no language (`mul`, a name of one's own) as it is.

    What stands behind `-x-`, for private use, is kept: `en-x-de` is a pool of English documents of its own.
    """
    language, private, rest = tag.partition(PRIVATE)
    return f"{normalize(language) or language}{private}{rest}"


def plain(tag: str) -> str:
    """The tag without what is for private use: `en` for `en-x-de`."""
    return tag.partition(PRIVATE)[0]


def canonical_id(key: str) -> str:
    """The id `lang:docid` with its language as this project writes it."""
    tag, colon, rest = key.partition(":")
    return f"{canonical(tag)}{colon}{rest}" if colon else key


@lru_cache(maxsize=4096)
def named(name: str) -> str | None:
    """The tag of the language with this English name (`arabic`), as the Unicode CLDR has it; None when none has."""
    return _names().get(name.lower())


@lru_cache(maxsize=4096)
def is_common(tag: str) -> bool:
    """Whether the Unicode CLDR has an English name for the tag's language.

    Of the codes of three letters it has some hundreds, and not those that are words of file names: `dev`, `val`, `all`.
    """
    found = normalize(tag)
    return found is not None and found.partition("-")[0] in _names().values()


@lru_cache(maxsize=4096)
def script(tag: str) -> str:
    """ISO 15924 code of the script that the language is written in, from the Unicode CLDR; `Zzzz` when not known."""
    import langcodes

    try:
        return langcodes.get(tag).maximize().script or "Zzzz"
    except (LookupError, ValueError):
        return "Zzzz"


@lru_cache(maxsize=4096)
def direction(tag: str) -> Literal["ltr", "rtl"]:
    """Which way the language's script is written: from left to right, also when not known, or from right to left."""
    return "rtl" if script(plain(tag)) in RIGHT_TO_LEFT else "ltr"


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    from babel import Locale

    known = {name.lower(): tag for tag, name in Locale("en").languages.items() if normalize(tag) == tag}
    return known | {"bengali": "bn"}  # which the CLDR calls Bangla
