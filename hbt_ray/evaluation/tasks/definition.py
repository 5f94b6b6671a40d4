"""What the file of a task declares, and how that becomes the task."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import Duplicates, Setting, UserError
from hbt_ray.evaluation.tasks.base import CorpusAt, Task
from hbt_ray.evaluation.tasks.content import Asked, Content

HUB = re.compile(r"^hf://datasets/[^/]+/[^/]+")
EVERY: tuple[Setting, ...] = ("monolingual", "cross-lingual", "multilingual")


@dataclass(frozen=True)
class Definition:
    """A task as its file declares it.

    Attributes:
        source: where its files can be read [URI]; if it is not `published` so, what a user has to name.
        read: function that reads its files.
        settings: settings that are evaluated unless the user asks for others.
        headline: the measures that are quoted of it, by our names; the first is the main one.
        corpus: where its documents are published when they are apart [URI].
        texts: what a candidate's text may be.
        revision, corpus_revision: commit of the hub's repository of `source` and `corpus` that is read.
        ignore_identical_ids: as `Task` has it: BEIR's rule in the tasks of BEIR's layout, whatever MTEB has for one.
    """

    source: str
    read: Callable[[Asked], Content]
    settings: tuple[Setting, ...]
    headline: tuple[str, ...]
    corpus: str | None = None
    texts: tuple[str, ...] = ("sentence",)
    published: bool = True
    revision: str | None = None
    corpus_revision: str | None = None
    ignore_identical_ids: bool = False

    def load(
        self,
        name: str,
        data: str | None,
        corpus: str | None,
        language: str | None,
        text: str,
        skip_queries: bool = False,
        duplicates: Duplicates = "error",
    ) -> Task:
        """Read the task.

        Args:
            data: the task's files [URI]; where they are published when None.
            corpus: the task's documents when they are apart [URI]; where they are published when None.
            skip_queries: leave judged queries without text out.
            duplicates: what is done about documents of one id.

        Raises:
            UserError: its files are missing or malformed, or it has no such texts.
        """
        if text not in self.texts:
            raise UserError(f"--text {text}: {name} has {' or '.join(self.texts)} only")
        needed = f"--data has to name {self.source}"
        if data is None and not self.published:
            raise UserError(f"{name}: {needed}")
        at_hub = _at(self.source, self.revision), _at(self.corpus or "", self.corpus_revision)
        places = [storage.absolute(at_hub[0] if data is None else data)]
        if corpus is not None or self.corpus is not None:
            places.append(storage.absolute(corpus or at_hub[1]))
        for place, published, flag in zip(places, (self.source, self.corpus), ("data", "corpus"), strict=False):
            try:
                storage.expand(place)
            except (UserError, OSError) as error:  # OSError: a hub that does not answer, or does not know the place
                hint = f"its files are at {published}, and --{flag} names a copy" if self.published else needed
                raise UserError(f"{name}: {' '.join(str(error).split())}; {hint}") from None
        asked = Asked(places[0], places[1] if len(places) > 1 else None, language, text)
        queries, documents, judgements, answers = self.read(asked)
        left_out = {"missing_queries": 0, "duplicate_documents": 0}
        if skip_queries:
            there = set(queries["id"].to_pylist())
            left_out["missing_queries"] = sum(query not in there for query in judgements)
            judgements = {query: grades for query, grades in judgements.items() if query in there}
        if isinstance(documents, CorpusAt):
            documents = documents._replace(duplicates=duplicates)
        elif duplicates == "last":
            rows = len(documents)
            last = {key: row for row, key in enumerate(documents["id"].to_pylist())}
            documents = documents.take(pa.array(sorted(last.values()), pa.int64()))
            left_out["duplicate_documents"] = rows - len(documents)
        return Task(
            name, queries, documents, judgements, self.settings, self.headline, answers,
            self.ignore_identical_ids, tuple(places), left_out,
        )  # fmt: skip


def _at(source: str, revision: str | None) -> str:
    return HUB.sub(rf"\g<0>@{revision}", source) if revision else source
