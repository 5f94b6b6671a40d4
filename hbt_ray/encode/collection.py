"""A collection on storage: the documents of a corpus, or of several, encoded by one encoder; it grows by versions.

    versions/000002.json             the commit: which manifest counts from here on; created exclusively, written last
    manifests/<checksum>.json        what that version has: parts, rows of them that are removed, ledgers
    parts/<part>-<attempt>.parquet   vectors of one part, under a name that no other writer has
    texts/<sha256>.parquet           its texts
    documents/<sha256>.parquet       a ledger: where each document is, by the hash of its id
    commits/<encoder>/<part>.json    which attempt at a part counts; created exclusively
    run.json                         whose vectors these are

No file changes once it is there: a name is unique, given by content, or created exclusively. So nothing that another
writer does, however late, changes what a reader sees.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from hbt_ray import storage
from hbt_ray.config import Duplicates, UserError
from hbt_ray.storage.fields import Below, Count, Hash, Shape, Size

KIND = "embeddings"
VERSION_KIND = "collection"
VERSIONS = "versions"
Rows = Annotated[int, Field(ge=0, lt=2**28)]  # of a part


def _bits(text: str) -> str:
    base64.b64decode(text, validate=True)
    return text


class _Part(Shape):
    name: Below
    language: str
    rows: Rows
    sha256: Hash
    number: Annotated[int, Field(ge=0, lt=2**24)] = 0
    file: Below = "-"
    texts: Hash = "0"
    stored_rows: Rows = 0
    removed: Annotated[str, AfterValidator(_bits)] = ""


class _Ledger(Shape):
    sha256: Hash
    rows: Count


class _Corpus(Shape):
    uri: str
    language: str | None
    duplicates: Duplicates = "error"


class _Manifest(Shape):
    model: str
    model_fingerprint: str
    role: Literal["query", "passage"]
    width: Size
    rows: Count
    rows_by_language: dict[str, Count]
    parts: list[_Part]
    next_part: Count = 0
    documents: list[_Ledger] = Field([])
    corpus: _Corpus = _Corpus(uri="", language=None)
    encoder: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> _Manifest:
        rows: Counter[str] = Counter()
        for part in self.parts:
            rows[part.language] += part.rows
            if self.documents and not {"number", "texts", "stored_rows"} <= part.model_fields_set:
                raise ValueError(f"part {part.name} does not say where its texts are")
        if +rows != +Counter(self.rows_by_language) or rows.total() != self.rows:
            raise ValueError("its parts have other numbers of rows than it says")
        return self


class _Version(Shape):
    number: Count
    content: str
    manifest: Below
    sketch: list[str]


def folder_of(uri: str) -> str:
    """The folder of a collection that is named by its folder or by one of its versions [URI]."""
    return uri.rsplit(f"/{VERSIONS}/", 1)[0] if uri.endswith(".json") else uri


def version_uri(folder: str, number: int) -> str:
    """A version of the collection [URI]."""
    return storage.join(folder, VERSIONS, f"{number:06d}.json")


def newest(folder: str) -> int:
    """The number of the newest version in the folder; 0: there is none."""
    names = [name for name in storage.sizes(storage.join(folder, VERSIONS)) if re.fullmatch(r"\d{6,18}\.json", name)]
    return int(max(names).removesuffix(".json")) if names else 0


def pinned(uri: str) -> str:
    """The collection as it is now: its newest version, if `uri` is its folder [URI].

    Folders that were made before collections had versions stay what they are.
    """
    number = newest(uri) if folder_of(uri) == uri else 0
    return version_uri(uri, number) if number else uri


def manifest_of(uri: str) -> dict[str, Any]:
    """The manifest of a collection: of the version that `uri` names, or of the newest in the folder.

    Raises:
        UserError: nothing is there, or it is no collection.
    """
    found = pinned(uri)
    folder = folder_of(found)
    if folder == found:
        return storage.read_manifest(found, KIND, _Manifest)
    return storage.read_manifest_file(storage.join(folder, _version(found)["manifest"]), KIND, _Manifest)


def versions_of(folder: str) -> list[dict[str, Any]]:
    """The versions in the folder, the newest last: `number`, `content`, `sketch` and `manifest` of each.

    Raises:
        UserError: one is none.
    """
    return [_version(version_uri(folder, number)) for number in range(1, newest(folder) + 1)]


def commit(folder: str, number: int, content: str, sketch: list[str], body: Mapping[str, Any]) -> bool:
    """Make a version visible; returns whether it is, also when another writer has made the same one.

    Args:
        number: its number, which must not be there yet.
        content: name of the set of its documents.
        sketch: sketch of its documents.
        body: body of its manifest.
    """
    manifest = storage.signed(KIND, body)
    name = f"manifests/{manifest['checksum']}.json"
    storage.write_json(storage.join(folder, name), manifest)
    uri = version_uri(folder, number)
    try:
        storage.commit_new(
            uri, VERSION_KIND, {"number": number, "content": content, "manifest": name, "sketch": sketch}
        )
    except FileExistsError:
        return bool(_version(uri)["content"] == content)
    return True


def belongs(folder: str, about: Mapping[str, Any]) -> None:
    """Check that the folder, if it is anybody's, is a collection of this encoder.

    Args:
        about: role, number format and fingerprint of the encoder.

    Raises:
        UserError: it is another's; the line names what differs.
    """
    if storage.exists(storage.join(folder, "run.json")):
        storage.claim(folder, "encode", about)
    elif storage.committed(folder):
        raise UserError(f"{folder} already holds another run: name another --out")


def own(folder: str, about: Mapping[str, Any]) -> None:
    """Take the folder for this encoder, or find that it is its already.

    That is done when there is something to show, so that a run which ends with a user's mistake leaves the folder to
    the corrected one.

    Raises:
        UserError: it is another's; the line names what differs.
    """
    storage.claim(folder, "encode", about)


def _version(uri: str) -> dict[str, Any]:
    return storage.read_manifest_file(uri, VERSION_KIND, _Version)
