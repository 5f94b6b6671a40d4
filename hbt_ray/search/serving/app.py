"""The HTTP interface: the page, its questions, and errors of one sentence."""

from __future__ import annotations

import logging
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from hbt_ray.config import UserError
from hbt_ray.config.base import told
from hbt_ray.job import user_error
from hbt_ray.search.serving.calls import NoAnswer
from hbt_ray.search.serving.guard import Guard
from hbt_ray.search.serving.messages import (
    CollectionAbout,
    EmbedAnswer,
    EmbedRequest,
    Failure,
    SearchAnswer,
    SearchRequest,
)
from hbt_ray.search.serving.retriever import Retriever

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
# the page takes nothing from elsewhere, sends nothing there, and runs nothing that is not in its files
ONLY_OURS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
FAILURES: dict[int | str, dict[str, Any]] = {
    status.value: {"model": Failure, "description": status.phrase}
    for status in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}
log = logging.getLogger(__name__)


def create_app(retriever: Retriever, token: str | None) -> Guard:
    """The application that answers from `retriever`; requests must bring `token`, if there is one."""
    app = FastAPI(title="hbt_ray", version=version("hbt-ray"), responses=FAILURES)

    @app.get("/health", summary="Whether the server answers", responses={})
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/collections", summary="What is served")
    async def collections() -> list[CollectionAbout]:
        return retriever.about()

    @app.post("/search", summary="The passages that answer a query, best first")
    async def search(request: SearchRequest) -> SearchAnswer:
        return await retriever.search(request)

    @app.post("/embed", summary="Vectors of texts")
    async def embed(request: EmbedRequest) -> EmbedAnswer:
        return await retriever.embed(request)

    for path, name in FILES.items():
        app.add_api_route(path, _file(name), include_in_schema=False)
    for kind, status in (
        (RequestValidationError, HTTPStatus.UNPROCESSABLE_ENTITY),
        (UserError, HTTPStatus.UNPROCESSABLE_ENTITY),
        (NoAnswer, HTTPStatus.SERVICE_UNAVAILABLE),
        (Exception, HTTPStatus.INTERNAL_SERVER_ERROR),
    ):
        app.add_exception_handler(kind, _failed(status))
    app.add_exception_handler(HTTPException, _http_error)
    return Guard(app, token, [route.path for route in app.routes if hasattr(route, "path")])


def _file(name: str) -> Any:
    async def send() -> FileResponse:
        return FileResponse(PAGE / name, headers=ONLY_OURS)

    return send


def _failed(status: HTTPStatus) -> Any:
    async def answer(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            field = first["loc"][1:] if first["loc"] != ("body",) and first["type"] != "json_invalid" else ()
            sentence = told({**first, "loc": field}) if field else "the body is no JSON object of type application/json"
        elif isinstance(error, UserError | NoAnswer):
            sentence = str(error)
        else:
            sentence = user_error(error) or "the server failed; its log says why"
            log.error("a request failed: %s", sentence, exc_info=error)
        return JSONResponse({"error": sentence}, status)

    return answer


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
