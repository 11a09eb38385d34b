"""Errors as the client sees them: application/problem+json (RFC 9457), without anything of the inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

PROBLEM_JSON = "application/problem+json"


class Fault(BaseModel):
    """A part of a request that cannot be used."""

    place: str = Field(description="Where it is, such as texts[0].")
    message: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"required": ["type", "title", "status", "detail"]})

    type: str = "about:blank"
    title: str = Field(description="The name of the status.")
    status: int
    detail: str = Field(description="What was wrong, and what to do.")
    errors: list[Fault] | None = Field(None, description="The parts that cannot be used, if there are any.")


class ProblemError(Exception):
    """A request cannot be answered."""

    def __init__(
        self, status: int, detail: str, *, errors: Sequence[Fault] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the response that the client gets."""
        problem = Problem(
            title=HTTPStatus(self.status).phrase, status=self.status, detail=self.detail, errors=self.errors or None
        )
        return json_response(
            problem.model_dump(exclude_none=True), status=self.status, media_type=PROBLEM_JSON, headers=self.headers
        )


def json_response(
    values: Any, *, status: int = 200, media_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> Response:
    """Return readable JSON; a lone surrogate, which UTF-8 cannot encode, is escaped."""
    content = json.dumps(values, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    return Response(
        content, status_code=status, media_type=media_type, headers={"Cache-Control": "no-store", **(headers or {})}
    )
