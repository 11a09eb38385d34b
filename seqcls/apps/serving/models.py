"""The models that are served, by name, and their two queues: one for predictions, one for explanations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqcls.apps.serving.batcher import Batcher, BusyError
from seqcls.apps.serving.metrics import Metrics
from seqcls.apps.serving.problems import ProblemError
from seqcls.apps.serving.schemas import MAX_TEXTS, PredictRequest
from seqcls.errors import UsageError
from seqcls.evaluation.decisions import confidence, decide
from seqcls.inference.classifier import Classifier

_LINGER = 0.001  # seconds that a batch waits for more texts
_REVIEWS = (
    "Not a good film. A great one.",
    "I wanted to like it, but the story goes nowhere and the jokes fall flat.",
    "The room was clean, the staff were friendly, and breakfast was excellent.",
)
_EXAMPLES = {"imdb": _REVIEWS, "reviews": _REVIEWS}


def load_models(paths: Iterable[str], *, device: str = "auto") -> dict[str, Classifier]:
    """Load text models, each given as a directory or as NAME=DIRECTORY.

    Raises:
        UsageError: Two models have the same name, a name is not printable, or a model reads sequences of numbers.
        CheckpointError: As `Classifier.from_pretrained`.
        DeviceError: As `Classifier.from_pretrained`.
    """
    models: dict[str, Classifier] = {}
    for argument in paths:
        name, path = _named(argument)
        if not name or not name.isprintable():
            raise UsageError(f"{argument!r} has no printable name; give NAME={path}")
        if name in models:
            raise UsageError(f"two models are named {name!r}; give one as OTHER={path}")
        classifier = Classifier.from_pretrained(path, device=device)
        if classifier.preprocessor.kind != "text":
            raise UsageError(f"{path} reads sequences of numbers, but serve takes texts; use seqcls predict --file FILE.npz")
        models[name] = classifier
    return models


def _named(argument: str) -> tuple[str, Path]:
    """Return the name and the path that an argument means."""
    name, equals, path = argument.partition("=")
    if equals and not Path(argument).exists():
        return name, Path(path)
    folder = Path(argument).resolve()
    # For a model within a run directory, the name of the run says more than "model".
    return (folder.parent if folder.name == "model" else folder).name, Path(argument)


@dataclass(frozen=True, eq=False)
class _Answer:
    probabilities: NDArray[np.float32]  # [C]
    unknown: float


class Models:
    """The models that are served; `close` ends the threads.

    Args:
        classifiers: Text models by name; the first is the default.
        metrics: Counts batches and waiting texts.
        capacity: The number of texts that may wait for a prediction.
        examples: Texts to try; by default those that suit the data set of each model.
    """

    def __init__(
        self,
        classifiers: Mapping[str, Classifier],
        metrics: Metrics,
        *,
        capacity: int,
        examples: Sequence[str] = (),
    ) -> None:
        self._classifiers = dict(classifiers)
        self._examples = list(examples)
        self._predicting = Batcher(
            self._predict_batch,
            capacity=max(capacity, MAX_TEXTS),
            at_once=MAX_TEXTS,
            linger=_LINGER,
            observe=metrics.batch("predict"),
        )
        # Explanations cost far more, hence a short queue of their own; one at a time, so that those whose client has left,
        # as with each key that is typed, are passed over.
        self._explaining = Batcher(self._explain_batch, capacity=MAX_TEXTS, at_once=1, observe=metrics.batch("explain"))
        metrics.watch_queue("predict", lambda: self._predicting.waiting)
        metrics.watch_queue("explain", lambda: self._explaining.waiting)

    def describe(self) -> list[dict[str, Any]]:
        """Return what /v1/models says."""
        return [
            {
                "name": name,
                "labels": list(classifier.label_names),
                "multi_label": classifier.is_multi_label,
                "encoder": classifier.config.model.encoder,
                "parameters": classifier.num_parameters,
                "max_length": classifier.config.data.max_length,
                "examples": self._examples or list(_EXAMPLES.get(classifier.config.data.dataset, ())),
            }
            for name, classifier in self._classifiers.items()
        ]

    async def check(self) -> None:
        """Let every model predict; raises like `answer`."""
        for name in self._classifiers:
            await self._predict(name, ["ready?"])

    async def answer(self, request: PredictRequest) -> dict[str, Any]:
        """Return what /v1/predict answers.

        Raises:
            ProblemError: There is no such model, too much waits, or too many explanations are asked for.
        """
        name = self._resolve(request.model)
        answers = await self._predict(name, request.texts)
        rows = self._rows(self._classifiers[name], answers, min_confidence=request.min_confidence)
        if request.explain:
            for row, explanation in zip(rows, await self._explain(name, request.texts), strict=True):
                row["explanation"] = explanation
        return {"model": name, "predictions": rows}

    def close(self) -> None:
        """Answer what is queued and end the threads."""
        self._predicting.close()
        self._explaining.close()

    def _resolve(self, name: str | None) -> str:
        if name is None:
            return next(iter(self._classifiers))
        if name not in self._classifiers:
            raise ProblemError(404, f"No such model: {name[:100]!r}; the models are {', '.join(self._classifiers)}.")
        return name

    @staticmethod
    def _rows(classifier: Classifier, answers: list[_Answer], *, min_confidence: float) -> list[dict[str, Any]]:
        probabilities = np.stack([answer.probabilities for answer in answers])
        key = "labels" if classifier.is_multi_label else "label"
        thresholds = classifier.thresholds
        labels = decide(probabilities, classifier.label_names, thresholds, min_confidence=min_confidence)
        confidences = confidence(probabilities, thresholds)
        return [
            {
                key: list(label) if isinstance(label, tuple) else label,
                "confidence": float(confidences[index]),
                "probabilities": dict(zip(classifier.label_names, probabilities[index].tolist(), strict=True)),
                "unknown": answers[index].unknown,
            }
            for index, label in enumerate(labels)
        ]

    async def _predict(self, name: str, texts: Sequence[str]) -> list[_Answer]:
        try:
            return await asyncio.wrap_future(self._predicting.submit(name, texts))
        except BusyError:
            raise ProblemError(
                503, "Too many texts are waiting; try again in a second.", headers={"Retry-After": "1"}
            ) from None

    async def _explain(self, name: str, texts: Sequence[str]) -> list[dict[str, Any]]:
        waiting: list[asyncio.Future[list[dict[str, Any]]]] = []
        try:
            for text in texts:
                waiting.append(asyncio.wrap_future(self._explaining.submit(name, [text])))  # noqa: PERF401 it may fail halfway
        except BusyError:
            for future in waiting:
                future.cancel()
            raise ProblemError(
                503, "Too many explanations are waiting; try again in a second.", headers={"Retry-After": "1"}
            ) from None
        return [explanation for (explanation,) in await asyncio.gather(*waiting)]

    def _predict_batch(self, name: str, texts: list[str]) -> list[_Answer]:
        classifier = self._classifiers[name]
        sequences = classifier.encode(texts)
        answers = zip(classifier.predict_proba(sequences), classifier.unknown_rates(sequences).tolist(), strict=True)
        return [_Answer(probabilities, unknown) for probabilities, unknown in answers]

    def _explain_batch(self, name: str, texts: list[str]) -> list[dict[str, Any]]:
        return [self._classifiers[name].explain(text).as_dict() for text in texts]
