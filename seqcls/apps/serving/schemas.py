"""The requests and answers of /v1, as they are validated and as OpenAPI shows them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from seqcls.apps.serving.problems import Fault, ProblemError

MAX_TEXTS = 64
"""The most texts in a request."""
MAX_CHARACTERS = 100_000
"""The most characters in a text."""

_TEXT = {"type": "string", "maxLength": MAX_CHARACTERS}
_Texts = Annotated[
    list[Annotated[str, Field(max_length=MAX_CHARACTERS)]],
    Field(min_length=1, max_length=MAX_TEXTS),
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MAX_TEXTS}]}),
]


class PredictRequest(BaseModel):
    """Texts for a model."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"texts": ["Not a good film.", "A great one."], "explain": True}]},
    )

    texts: _Texts = Field(description=f"A text, or a list of 1 to {MAX_TEXTS}.")
    model: str | None = Field(None, description="One of the models that /v1/models lists; by default the first.")
    explain: bool = Field(False, description="Whether to return the contribution of each token, which takes far longer.")
    min_confidence: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False, description="Below this confidence the label is null: unsure."
    )

    @classmethod
    def parse(cls, body: bytes) -> PredictRequest:
        """Read a body.

        Raises:
            ProblemError: 400 if the body is not JSON, 422 if it does not have this form.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            mistakes = error.errors(include_url=False, include_context=False, include_input=False)
        if any(item["type"] == "json_invalid" for item in mistakes):
            raise ProblemError(400, 'The body is not JSON in UTF-8; send {"texts": ["a text"]}.')
        faults = [Fault(place=_place(item["loc"]), message=item["msg"]) for item in mistakes[:10]]
        detail = "; ".join(f"{fault.place}: {fault.message}" for fault in faults)
        raise ProblemError(422, f"The request cannot be used. {detail}.", errors=faults)


def _place(location: tuple[int | str, ...]) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part:.100}" for part in location)
    return place.removeprefix(".") or "body"


class TokenContribution(BaseModel):
    """A token, and its contribution to the log-odds of the label."""

    token: str
    start: int = Field(description="Where the token starts in the text, in Unicode characters.")
    end: int
    contribution: float


class ExplanationAnswer(BaseModel):
    """An explanation, as `seqcls explain --json` prints it."""

    label: str
    probability: float
    method: str
    gap: float | None
    num_tokens: int = Field(description="The number of tokens in the text; the model reads only those in `tokens`.")
    tokens: list[TokenContribution]


class Prediction(BaseModel):
    """The prediction for a text."""

    model_config = ConfigDict(json_schema_extra={"required": ["confidence", "probabilities", "unknown"]})

    label: str | None = Field(None, description="Null below min_confidence; absent if a text may have several labels.")
    labels: list[str] | None = Field(None, description="In place of `label` if a text may have several labels.")
    confidence: float = Field(description="The probability that the model is right.")
    probabilities: dict[str, float]
    unknown: float = Field(description="The share of the words that the model does not know; 1 for an empty text.")
    explanation: ExplanationAnswer | None = Field(None, description="Present if it was asked for.")


class PredictAnswer(BaseModel):
    """The predictions of a model, one per text."""

    model: str
    predictions: list[Prediction]


class ModelDescription(BaseModel):
    """A model that is served."""

    name: str
    labels: list[str]
    multi_label: bool = Field(description="Whether a text may have several labels, or none.")
    encoder: str
    parameters: int
    max_length: int | None = Field(description="The most tokens of a text that the model reads.")
    examples: list[str] = Field(description="Texts to try.")


class ModelList(BaseModel):
    """The models that are served, the default first."""

    models: list[ModelDescription]


class Status(BaseModel):
    """Says that the server is live, or ready."""

    status: str
