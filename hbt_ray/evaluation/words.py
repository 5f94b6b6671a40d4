"""The words of a text in any language, for search by words.

Runs of letters, marks and digits, without case. Scripts that put no spaces between words, and Hangul, whose words bear
endings, give overlapping pairs of characters instead, as Lucene's CJKBigramFilter does. It goes by script and not by
language, so that a name or a number is the same word in a query and a document of two languages. There is no stemming
and there are no stop words, which would serve some of the languages only.
"""

from __future__ import annotations

import unicodedata

from tokenizers import Regex, pre_tokenizers

# The long vowel mark is of no script, but stands within Katakana words.
PAIRED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# Not Python's own \w, which takes no vowel signs and so cuts the words of Hindi to pieces.
_SPACED = pre_tokenizers.Split(Regex(rf"[\w&&[^{PAIRED}]]+"), "removed", invert=True)
_UNSPACED = pre_tokenizers.Split(Regex(rf"[{PAIRED}]+"), "removed", invert=True)


def words(text: str) -> list[str]:
    """All words of a text, repeated ones too, first those of scripts with spaces."""
    text = unicodedata.normalize("NFKC", text).casefold()
    found = [word for word, _ in _SPACED.pre_tokenize_str(text)]
    for run, _ in _UNSPACED.pre_tokenize_str(text):
        found += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
    return found
