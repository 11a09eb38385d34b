"""scikit-learn's interface, for pipelines, grid searches and cross-validation (extra `report`)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seqcls.config.old_names import rename
from seqcls.config.recipe_files import load_recipe
from seqcls.config.settings import Config
from seqcls.config.values import Auto
from seqcls.data.splits import Splits
from seqcls.errors import MissingExtraError, TrainingError
from seqcls.inference.classifier import Classifier
from seqcls.training.callbacks.console import ConsoleReporter
from seqcls.training.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        check_array,
        check_consistent_length,
        check_is_fitted,
        check_random_state,
        column_or_1d,
    )
except ModuleNotFoundError:
    raise MissingExtraError("scikit-learn", "report") from None


class SequenceClassifierEstimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A sequence classifier with scikit-learn's interface: X holds texts, or sequences of numbers, and y one label for each.

    A parameter that is None keeps the value of the recipe; "auto" is chosen to fit the training data.

    Args:
        recipe: Name of the settings to start from.
        encoder: Name of the encoder.
        encoder_options: Options of the encoder, merged into those of the recipe.
        embedding: Name of the embedding.
        epochs: Passes over the training data.
        batch_size: Examples per forward pass.
        lr: Learning rate; for a schedule with a peak, the peak.
        vocab_size: Largest size of the vocabulary, including the padding and unknown tokens.
        max_length: Longest text, in tokens; longer texts are cut.
        validation_fraction: Share of the training data that is held out to choose the best epoch and to calibrate.
        settings: Any other settings by name, such as ``{"patience": 2}``.
        random_state: Seed of the weights, the batch order and dropout: an integer, a ``numpy.random.RandomState``, or None
            for a different seed in each fit.
        device: Device: auto, cpu, cuda, cuda:N or mps.
        output: Run directory to write in each fit; by default the run is not kept.
        verbose: 1 shows the progress of the training on stderr.
        num_words: Deprecated name of ``vocab_size``.

    Attributes:
        classes_: The labels in sorted order, which is the order of the columns of `predict_proba`.
        classifier_: The trained `seqcls.Classifier`; its ``save_pretrained`` writes a model directory.

    Example:
        >>> estimator = SequenceClassifierEstimator(encoder="lstm", epochs=3, random_state=0)
        >>> estimator.fit(["good", "bad"] * 20, [1, 0] * 20).predict(["good"])
        array([1])
    """

    def __init__(
        self,
        *,
        recipe: str = "default",
        encoder: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        embedding: str | None = None,
        epochs: int | Auto | None = None,
        batch_size: int | Auto | None = None,
        lr: float | Auto | None = None,
        vocab_size: int | Auto | None = None,
        max_length: int | None = None,
        validation_fraction: float = 0.1,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
        output: str | Path | None = None,
        verbose: int = 0,
        num_words: int | str | None = "deprecated",
    ) -> None:
        self.recipe = recipe
        self.encoder = encoder
        self.encoder_options = encoder_options
        self.embedding = embedding
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.validation_fraction = validation_fraction
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.output = output
        self.verbose = verbose
        self.num_words = num_words

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on N texts, or N sequences of numbers float [T, D], and N labels of any type that NumPy can sort.

        ``sample_weight`` [N] says how much each example counts in the training loss; the choice of the best epoch and the
        calibration, which are made on held-out examples, count them all the same.

        Raises:
            ValueError: X and y differ in length, have another form, or y has a single class; or a weight is negative or
                not finite, or all weights are 0.
            SeqclsError: As `Trainer.fit`.
        """
        texts, labels = _sequences(X), column_or_1d(y, warn=True)
        check_consistent_length(texts, labels)
        check_classification_targets(labels)
        classes, numbers = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y has only one class, {classes.tolist()[0]!r}; a classifier needs at least two")
        names = [str(label) for label in classes]
        weights = None if sample_weight is None else _weights(sample_weight, len(texts))
        splits = Splits.from_pairs(zip(texts, (names[number] for number in numbers), strict=True), weights=weights)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "run" if self.output is None else Path(self.output)
            callbacks = [ConsoleReporter()] if self.verbose else []
            trainer = Trainer(splits, config=self._config(), callbacks=callbacks, output=output, overwrite=True)
            result = trainer.fit()
            if result.model_dir is None:
                raise TrainingError(f"the training was stopped: {result.stop_reason}")
            self.classifier_ = Classifier.from_pretrained(result.model_dir, device=self.device)
        self.classes_ = classes
        column_of = {name: column for column, name in enumerate(self.classifier_.label_names)}
        self._columns = [column_of[name] for name in names]
        return self

    def _config(self) -> Config:
        config = load_recipe(self.recipe, encoder=self.encoder, embedding=self.embedding)
        parameters = {name: getattr(self, name) for name in ("epochs", "batch_size", "lr", "vocab_size", "max_length")}
        if self.num_words != "deprecated":
            parameters |= rename({"num_words": self.num_words}, warn=True)
        if self.encoder_options is not None:
            parameters["encoder_options"] = {**config.model.encoder_options, **self.encoder_options}
        return config.replace(
            **rename(self.settings or {}, warn=True)
            | {name: value for name, value in parameters.items() if value is not None}
            | {"validation_fraction": self.validation_fraction, "seed": _seed(self.random_state), "device": self.device}
        )

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return the probability of each class for each sequence, float32 [N, C], in the order of ``classes_``."""
        check_is_fitted(self, "classifier_")
        probabilities: NDArray[np.float32] = self.classifier_.predict_proba(_sequences(X))[:, self._columns]
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each sequence, [N]."""
        columns = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[columns]
        return predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.non_deterministic = self.random_state is None
        return tags


def _sequences(X: Any) -> list[Any]:
    """Return X as a list of texts or of arrays."""
    if isinstance(X, str) or not hasattr(X, "__iter__"):
        raise ValueError(f"X is {X!r:.40}; give a list of texts, or of sequences of numbers [T, D]")
    if getattr(X, "ndim", 1) == 2:
        raise ValueError(f"X has the shape {X.shape}; give one column of texts, [N], or sequences of numbers [N, T, D]")
    return [str(item) if isinstance(item, np.str_) else item for item in X]


def _weights(sample_weight: Any, count: int) -> NDArray[np.float64]:
    """Return the weights of ``count`` examples, float64 [count]; a single number is the weight of each."""
    given = [sample_weight] * count if np.isscalar(sample_weight) else sample_weight
    weights: NDArray[np.float64] = check_array(given, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.shape != (count,):
        raise ValueError(f"sample_weight has the shape {weights.shape}; give one weight per example, ({count},)")
    if (weights < 0).any() or not weights.any():
        raise ValueError(
            "sample_weight has a negative weight, or is 0 for every example; give weights of at least 0, not all 0"
        )
    return weights


def _seed(random_state: Any) -> int:
    if random_state is None or not isinstance(random_state, int | np.integer):
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return int(random_state)
