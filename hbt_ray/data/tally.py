"""What is counted of the inputs while they are read: for the checks at the end, and for the data card of the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from hbt_ray.config import Input, UserError
from hbt_ray.data.pieces import InputFile
from hbt_ray.data.records import TEST_ITEM, Checked
from hbt_ray.terminal import warn

SAME_SHARE = 0.01  # of rows whose passage is their query, above which that is said


class Tally:
    """Sums over the records of one part, and of all parts of an input.

    Attributes:
        counts: input to `rows` read, `bad` ones, `excluded` ones, `pairs` (good ones that are not bitext), `same` (of
            these, whose passage is the query), `cut` (texts longer than the limit) and `content` (a hash of the good
            rows).
        languages: input to the number of good queries and passages in each language; a sentence of bitext is one.
        excluded: rows left out as test items, by task; a row may be one of several.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.languages: dict[str, Counter[str]] = {}
        self.excluded: Counter[str] = Counter()

    def add(self, name: str, found: Checked, excluded: Counter[str], content: np.ndarray, cut: int) -> None:
        """Count a batch of the input `name`.

        Args:
            excluded: how many of the bad ones are test items, by task.
            content: hash of the texts of each good row, int64 [rows].
            cut: how many texts were cut.
        """
        good = found.good
        test_items = pc.sum(pc.equal(found.bad["reason"], TEST_ITEM)).as_py() or 0
        pairs = good.filter(pc.invert(good["bitext"]))
        counts = self.counts.setdefault(name, Counter())
        counts.update(
            rows=good.num_rows + found.bad.num_rows,
            bad=found.bad.num_rows - test_items,
            excluded=test_items,
            pairs=pairs.num_rows,
            same=pc.sum(pc.equal(pairs["query"], pairs["passage"])).as_py() or 0,
            cut=cut,
        )
        counts["content"] = (counts["content"] + int(content.sum(dtype=np.uint64))) % 2**64
        self.excluded.update(excluded)
        languages = self.languages.setdefault(name, Counter())
        for texts in (good["query_lang"], pairs["passage_lang"]):
            languages.update({one["values"]: one["counts"] for one in pc.value_counts(texts).to_pylist()})

    def commit(self) -> dict[str, Any]:
        """The sums as JSON."""
        inputs = {name: {**counts, "languages": self.languages[name]} for name, counts in self.counts.items()}
        return {"inputs": inputs, "excluded": self.excluded}

    def add_commit(self, commit: dict[str, Any]) -> None:
        """Add what `commit` gave for a part."""
        self.excluded.update(commit["excluded"])
        for name, found in commit["inputs"].items():
            counts = self.counts.setdefault(name, Counter())
            content = (counts["content"] + found["content"]) % 2**64
            counts.update({key: value for key, value in found.items() if key != "languages"})
            counts["content"] = content
            self.languages.setdefault(name, Counter()).update(found["languages"])


def refuse_bad(tally: Tally, reasons: Counter[str], most: float, quarantine: str) -> None:
    """Check that not too many rows are bad.

    Args:
        reasons: how many rows are bad for each reason.
        most: share of rows that may be.
        quarantine: where they are [URI].

    Raises:
        UserError: more are.
    """
    rows, bad = (sum(counts[key] for counts in tally.counts.values()) for key in ("rows", "bad"))
    if bad > most * rows:
        reason, count = max(reasons.items(), key=lambda told: (told[0] != TEST_ITEM, told[1]))
        raise UserError(
            f"{bad:,} of {rows:,} rows are bad ({bad / rows:.1%}; --max-bad-share is {most:.1%}), {count:,} of them:"
            f" {reason}; they are in {quarantine}"
        )


def warn_of_texts(tally: Tally, max_tokens: int) -> None:
    """Say how many texts were cut, and of which inputs queries are often their own passages."""
    for name, counts in tally.counts.items():
        if counts["same"] > SAME_SHARE * counts["pairs"]:
            warn(
                f"{name}: in {counts['same']:,} of {counts['pairs']:,} rows the passage is the query: a model learns"
                " nothing from them; one-sentence translations are bitext"
            )
        if counts["cut"]:
            warn(f"{name}: {counts['cut']:,} texts are longer than --max-tokens {max_tokens} and were cut there")


def joined_cards(cards: dict[str, dict[str, Any]], others: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The cards of inputs that were read at different times, as `card` gives them for all at once."""
    found = dict(cards)
    for name, other in others.items():
        one = cards.get(name, {})
        languages = Counter(one.get("languages", {})) + Counter(other["languages"])
        content = int(one.get("content", "0"), 16) + int(other["content"], 16)
        found[name] = {
            **{key: sorted({*one.get(key, ()), *other[key]}) for key in ("formats", "splits")},
            "license": other["license"] or one.get("license"),
            **{key: one.get(key, 0) + other[key] for key in ("files", "rows", "bad", "excluded", "cut")},
            "languages": dict(sorted(languages.items())),
            "content": f"{content % 2**64:016x}",
        }
    return dict(sorted(found.items()))


def card(
    inputs: Sequence[Input], files: Iterable[InputFile], licenses: dict[str, str], tally: Tally
) -> dict[str, dict[str, Any]]:
    """What the manifest says of each input; nothing of it depends on where the files are."""
    counts = Counter(str(inputs[file.input].name) for file in files)
    found: dict[str, dict[str, Any]] = {}
    for asked in inputs:
        name = str(asked.name)
        sums = tally.counts.get(name, Counter())
        formats = {*found.get(name, {}).get("formats", ()), str(asked.source)}
        splits = {*found.get(name, {}).get("splits", ()), *([asked.split] if asked.split else [])}
        found[name] = {
            "formats": sorted(formats),
            "splits": sorted(splits),
            "license": licenses.get(name),
            "files": counts[name],
            **{key: sums[key] for key in ("rows", "bad", "excluded", "cut")},
            "languages": dict(sorted(tally.languages.get(name, Counter()).items())),
            "content": f"{sums['content']:016x}",
        }
    return dict(sorted(found.items()))
