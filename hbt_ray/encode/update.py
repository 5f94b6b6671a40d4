"""An update of a collection to a corpus: the parts that are to be encoded, and the version that has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.encode import collection
from hbt_ray.encode.changes import Changes, compare, next_version
from hbt_ray.encode.corpus import Corpus
from hbt_ray.encode.documents import content_name, sketch
from hbt_ray.encode.plan import parts_to_encode
from hbt_ray.encode.spans import Part
from hbt_ray.storage.parts import Parts

log = logging.getLogger(__name__)


class Update(NamedTuple):
    """What makes a collection hold a corpus.

    Attributes:
        folder: the collection [URI].
        about: whose vectors they are: role, number format and fingerprint of the encoder.
        corpus: a corpus with the hashes of its documents.
        among_others: whether the collection also has other corpora, each as versions of its own.
        changes: what the corpus has that the collection has not, and the other way round.
        planned: parts that the next version adds, and the places of their documents in the corpus, int64 [rows].
    """

    folder: str
    about: Mapping[str, str]
    corpus: Corpus
    among_others: bool
    changes: Changes
    planned: list[tuple[Part, np.ndarray]]

    @property
    def commits(self) -> str:
        """Where parts are committed: a folder for each encoder, since a part's name tells its documents only [URI]."""
        return storage.join(self.folder, "commits", storage.fingerprint(dict(self.about)))

    def missing(self) -> list[Part]:
        """The parts that nobody has committed yet."""
        return [self.planned[number][0] for number in self._made.missing()]

    def commit(self, body: Mapping[str, Any]) -> str:
        """Make the corpus the collection's newest version, once no part is missing; returns that version [URI].

        Among others a version that is there already is left as it is.

        Args:
            body: what the manifest says besides documents and parts.

        Raises:
            UserError: the collection is another encoder's, or a file of it is missing or corrupt, or, unless
                `among_others`, it has been updated to another corpus meanwhile.
        """
        newest = self.changes.newest
        if self.changes.same and (self.among_others or self.changes.same == newest):
            return collection.version_uri(self.folder, self.changes.same)
        collection.own(self.folder, self.about)
        entries = [
            ({"name": part.name, "language": part.language, **commit}, places)
            for (part, places), commit in zip(self.planned, self._made.commits(), strict=True)
        ]
        found = self.corpus.documents
        assert found is not None
        manifest = {**self.about, **body, **next_version(self.folder, self.changes, found, entries)}
        number = newest + 1
        while not collection.commit(self.folder, number, content_name(found), sketch(found), manifest):
            if not self.among_others:
                raise UserError(f"{self.folder} has been updated to another corpus meanwhile: start again")
            number += 1
        return collection.version_uri(self.folder, number)

    @property
    def _made(self) -> Parts:
        return Parts(self.commits, [part.name for part, _ in self.planned])


def plan(folder: str, about: Mapping[str, str], corpus: Corpus, part_rows: int, among_others: bool) -> Update:
    """Find what there is to do, and say it in one line.

    Args:
        part_rows: largest part [documents].

    Raises:
        UserError: it is a version, the folder is another's, a file of it is missing or corrupt, or, unless
            `among_others`, what is there is of another corpus.
    """
    assert corpus.documents is not None
    if collection.folder_of(folder) != folder:
        raise UserError(f"{folder} is one version of a collection, which stays as it is: name the collection's folder")
    collection.belongs(folder, about)
    changes = compare(folder, corpus.documents, among_others)
    if changes.base is not None and not changes.same:
        numbers = (f"{number:,}" for number in (changes.new, changes.changed, changes.gone))
        log.info("%s documents are new, %s have another text, and %s are there no more", *numbers)
    planned = parts_to_encode(corpus, changes.missing, part_rows)
    return Update(folder, about, corpus, among_others, changes, planned)
