"""The routes: the page, /v1, and those that watch the server. None loads a model or keeps a text."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from typing import Any

from seqcls.errors import MissingExtraError

try:
    import prometheus_client  # noqa: F401 the metrics need it
    import uvicorn  # noqa: F401 the server needs it
    from fastapi import FastAPI, Request, Response
    from fastapi.openapi.utils import get_openapi
    from starlette.exceptions import HTTPException
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "serve") from None

from seqcls.apps.serving.guard import Guard, Traffic
from seqcls.apps.serving.metrics import CONTENT_TYPE, Metrics
from seqcls.apps.serving.models import Models
from seqcls.apps.serving.problems import PROBLEM_JSON, Problem, ProblemError, json_response
from seqcls.apps.serving.schemas import ModelList, PredictAnswer, PredictRequest, Status
from seqcls.inference.classifier import Classifier

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_API = ("/v1/predict", "/v1/models", "/live", "/ready", "/metrics", "/openapi.json")
_EVERYWHERE = {
    421: "The server does not answer to this host name.",
    500: "The server failed.",
    504: "The answer took too long.",
}
_PROBLEMS = {
    "/v1/predict": {
        400: "The body is not JSON.",
        404: "No such model.",
        408: "The request arrived too slowly.",
        413: "The body is too large.",
        415: "The header Content-Type does not say that the body is JSON.",
        422: "The request cannot be used.",
        503: "Too many texts are waiting; try again.",
    },
    "/ready": {503: "Not ready: the server is ending, or too many texts are waiting."},
}


def create_app(
    classifiers: Mapping[str, Classifier],
    *,
    hosts: Collection[str] = LOOPBACK,
    seconds: float = 10.0,
    capacity: int = 512,
    examples: Sequence[str] = (),
) -> FastAPI:
    """Return an ASGI application that serves models; its threads live from its startup to its shutdown.

    Args:
        classifiers: Text models by name; the first is the default.
        hosts: The names that the header Host may give.
        seconds: The longest time that a request may take.
        capacity: The number of texts that may wait for a prediction.
        examples: Texts that the page offers to try; by default those that suit the data set of each model.

    Raises:
        MissingExtraError: On import, if the extra `serve` is not installed.
    """
    metrics, traffic = Metrics([*_PAGE, *_API]), Traffic()
    models: Models

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal models
        models = Models(classifiers, metrics, capacity=capacity, examples=examples)
        try:
            yield
        finally:
            models.close()

    # The documentation pages of FastAPI load scripts from elsewhere.
    app = FastAPI(
        title="seqcls", version=version("seqcls"), docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False
    )
    app.state.traffic = traffic
    app.add_middleware(Guard, hosts=hosts, seconds=seconds, traffic=traffic, observe=metrics.request)
    app.add_exception_handler(ProblemError, _show_problem)
    app.add_exception_handler(HTTPException, _show_http_error)

    @app.post(
        "/v1/predict",
        response_model=PredictAnswer,
        openapi_extra={"requestBody": {"required": True, "content": _content("application/json", _schema(PredictRequest))}},
    )
    async def predict(request: Request) -> Response:
        """Label texts, with calibrated probabilities."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ProblemError(415, "Send the header Content-Type: application/json.")
        return json_response(await models.answer(PredictRequest.parse(await request.body())))

    @app.get("/v1/models", response_model=ModelList)
    async def list_models() -> Response:
        """List the models that are served."""
        return json_response({"models": models.describe()})

    @app.get("/live", response_model=Status)
    async def live() -> Response:
        """Say that the process answers."""
        return json_response({"status": "live"})

    @app.get("/ready", response_model=Status)
    async def ready() -> Response:
        """Let every model predict a text, and say whether it did."""
        if traffic.draining:
            raise ProblemError(503, "The server is ending.")
        await models.check()
        return json_response({"status": "ready"})

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def show_metrics() -> Response:
        """Return counters and queue lengths in Prometheus's text format."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    _add_page(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _add_page(app: FastAPI) -> None:
    folder = resources.files("seqcls.apps.serving") / "page"
    files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _PAGE.items()}

    async def show(request: Request) -> Response:
        content, kind = files[request.url.path]
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    for path in files:
        app.add_api_route(path, show, include_in_schema=False)


async def _show_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response()


async def _show_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {404: "No such page; /openapi.json names those that exist.", 405: "The page does not allow this method."}
    return ProblemError(error.status_code, details.get(error.status_code, error.detail), headers=error.headers).response()


def _content(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {kind: {"schema": schema}}


def _schema(model: Any) -> dict[str, Any]:
    schema: dict[str, Any] = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return schema


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return FastAPI's description, with the problems that each path may return."""
    if app.openapi_schema is None:
        description = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schemas = description.setdefault("components", {}).setdefault("schemas", {})
        problem = _schema(Problem)
        schemas |= {**problem.pop("$defs"), "Problem": problem}
        content = _content(PROBLEM_JSON, {"$ref": "#/components/schemas/Problem"})
        for path, operations in description["paths"].items():
            for operation in operations.values():
                for status, meaning in {**_PROBLEMS.get(path, {}), **_EVERYWHERE}.items():
                    operation["responses"][str(status)] = {"description": meaning, "content": content}
        app.openapi_schema = description
    return app.openapi_schema
