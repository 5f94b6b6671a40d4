"""What requests and answers hold, as the OpenAPI page shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator

from hbt_ray.config import Section
from hbt_ray.config.serve import MOST_CHARACTERS, MOST_HITS, MOST_LANGUAGES, MOST_TEXTS, Name

Tag = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS)]


class SearchRequest(Section):
    """A question to one collection or several."""

    query: Text = Field(description="text to search for, in any language")
    languages: list[Tag] = Field(
        [], max_length=MOST_LANGUAGES, description="only passages in these; none named: all [BCP-47]"
    )
    k: int = Field(10, ge=1, le=MOST_HITS, description="length of the lists [passages]")
    collections: list[Name] = Field(
        [], max_length=MOST_LANGUAGES, description="what is searched; none named: all that are served"
    )

    @field_validator("query")
    @classmethod
    def _says_something(cls, query: str) -> str:
        if not query.strip():
            raise ValueError("there is nothing but white space in it")
        return query


class EmbedRequest(Section):
    """Texts to be encoded."""

    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS, description="texts, without prefix")
    role: Literal["query", "passage"] = Field("query", description="whose prefix and length limit applies")
    model: Name | None = Field(None, description="which of the models; it may be left out where there is one")


class Hit(BaseModel):
    """One passage of a list."""

    rank: int = Field(description="from 1")
    id: str = Field(description="language and id in the corpus, as `de:7`")
    language: str = Field(description="[BCP-47]")
    direction: Literal["ltr", "rtl"] = Field(description="how the language is written")
    score: float = Field(description="inner product with the query; of a fused list the sum of 1 / (60 + rank)")
    text: str | None = Field(description="title in front; none where the collection has gone")
    title: int = Field(description="how much of the text is its title [characters]")
    ranks: dict[str, int | None] = Field(
        description="rank in each collection's list; none where it is not among its first"
    )
    rank_distance: int | None = Field(description="largest less smallest of these ranks, if there are two")


class RankedList(BaseModel):
    """What one collection answers."""

    collection: str
    model: str = Field(description="which of the models has encoded it, and the query")
    hits: list[Hit]


class SearchAnswer(BaseModel):
    """The answer to a question."""

    query: str
    hits: list[Hit] = Field(description="best first; of several collections fused by reciprocal ranks")
    lists: list[RankedList] = Field(description="what each collection answers, where several were asked")


class EmbedAnswer(BaseModel):
    """Vectors of texts."""

    model: str
    vectors: list[list[float]] = Field(description="unit vectors [texts, width]")


class Documents(BaseModel):
    """The documents in one language."""

    documents: int
    direction: Literal["ltr", "rtl"]


class CollectionAbout(BaseModel):
    """A collection that is served."""

    name: str
    model: str
    exact: bool = Field(description="whether no better passage can be missed")
    languages: dict[str, Documents]


class Failure(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="one sentence")
