"""What the file of a task declares, and how that becomes the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hbt_ray import storage
from hbt_ray.config import Setting, UserError
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.evaluation.tasks.content import Asked, Content

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
    """

    source: str
    read: Callable[[Asked], Content]
    settings: tuple[Setting, ...]
    headline: tuple[str, ...]
    corpus: str | None = None
    texts: tuple[str, ...] = ("sentence",)
    published: bool = True

    def load(self, name: str, data: str | None, corpus: str | None, language: str | None, text: str) -> Task:
        """Read the task.

        Args:
            data: the task's files [URI]; where they are published when None.
            corpus: the task's documents when they are apart [URI]; where they are published when None.

        Raises:
            UserError: its files are missing or malformed, or it has no such texts.
        """
        if text not in self.texts:
            raise UserError(f"--text {text}: {name} has {' or '.join(self.texts)} only")
        needed = f"--data has to name {self.source}"
        if data is None and not self.published:
            raise UserError(f"{name}: {needed}")
        places = [storage.absolute(self.source if data is None else data)]
        if corpus is not None or self.corpus is not None:
            places.append(storage.absolute(corpus or self.corpus or ""))
        for place, published, flag in zip(places, (self.source, self.corpus), ("data", "corpus"), strict=False):
            try:
                storage.expand(place)
            except (UserError, OSError) as error:  # OSError: a hub that does not answer, or does not know the place
                hint = f"its files are at {published}, and --{flag} names a copy" if self.published else needed
                raise UserError(f"{name}: {' '.join(str(error).split())}; {hint}") from None
        asked = Asked(places[0], places[1] if len(places) > 1 else None, language, text)
        content = self.read(asked)
        return Task(name, *content[:3], self.settings, self.headline, content.answers)
