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
from seqcls.config.settings import Config, all_settings
from seqcls.data.splits import Splits
from seqcls.errors import ConfigError, MissingExtraError, TrainingError
from seqcls.inference.classifier import Classifier
from seqcls.training.callbacks.console import ConsoleReporter
from seqcls.training.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, check_random_state, column_or_1d
except ModuleNotFoundError:
    raise MissingExtraError("scikit-learn", "report") from None


class SequenceClassifierEstimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A sequence classifier as scikit-learn knows them: X are texts, or sequences of numbers, y a label each.

    Args:
        recipe: Named settings to start from; those below go over them where they are not None.
        encoder: A registered encoder.
        encoder_options: Its options.
        embedding: A registered embedding.
        epochs: Passes over the training data.
        batch_size: Examples a forward pass.
        lr: Learning rate, or its peak.
        vocab_size: Largest size of the vocabulary.
        max_length: Longest sequence, in tokens.
        validation_fraction: Share of the training data that chooses the best epoch and calibrates; it is not trained on.
        settings: Any other settings, by name, such as ``{"patience": 2}``.
        random_state: Seed of weights, batch order and dropout: a number, a ``numpy.random.RandomState``, or None for one
            that differs at each fit.
        device: auto, cpu, cuda, cuda:N or mps.
        output: Run directory to make at each fit; by default none is kept.
        verbose: 1 shows the training's progress on stderr.
        num_words: The old name of ``vocab_size``.

    Attributes:
        classes_: The labels, sorted: the columns of `predict_proba`.
        classifier_: The trained `seqcls.Classifier`; its ``save_pretrained`` writes a model directory.
    """

    def __init__(
        self,
        *,
        recipe: str = "default",
        encoder: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        embedding: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        vocab_size: int | None = None,
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

    def fit(self, X: Any, y: Any) -> Self:
        """Train on N texts, or N sequences of numbers float [T, D], and N labels of any type that NumPy can sort.

        Raises:
            ValueError: X and y do not match, or are not what is said above.
            SeqclsError: As `Trainer.fit`.
        """
        texts, labels = _sequences(X), column_or_1d(y, warn=True)
        check_consistent_length(texts, labels)
        check_classification_targets(labels)
        classes, numbers = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y has the one class {classes.tolist()}; a classifier needs two at least")
        names = [str(label) for label in classes]
        splits = Splits.from_pairs(zip(texts, (names[number] for number in numbers), strict=True))
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "run" if self.output is None else Path(self.output)
            callbacks = [ConsoleReporter()] if self.verbose else []
            trainer = Trainer(None, splits, config=self._config(), callbacks=callbacks, output=output, overwrite=True)
            result = trainer.fit()
            if result.model is None:
                raise TrainingError(f"the training was stopped: {result.stop_reason}")
            self.classifier_ = Classifier.from_pretrained(result.model, device=self.device)
        self.classes_ = classes
        self._columns = [self.classifier_.label_names.index(name) for name in names]
        return self

    def _config(self) -> Config:
        section = all_settings()
        old = {} if self.num_words == "deprecated" else {"num_words": self.num_words}
        given = {
            **rename({**dict(self.settings or {}), **old}, warn=True),
            **{name: value for name in _FREQUENT if (value := getattr(self, name)) is not None},
            "validation_fraction": self.validation_fraction,
            "encoder_options": None if self.encoder_options is None else dict(self.encoder_options),
            "seed": _seed(self.random_state),
            "device": self.device,
        }
        unknown = sorted(set(given) - set(section))
        if unknown:
            raise ConfigError(f"settings has the unknown names {', '.join(unknown)}; there are: {', '.join(section)}")
        changes: dict[str, dict[str, Any]] = {"data": {}, "model": {}, "fit": {}}
        for name, value in given.items():
            if value is not None:
                changes[section[name]][name] = value
        config = load_recipe(self.recipe, encoder=self.encoder, embedding=self.embedding)
        return config.updated(changes, source="the estimator")

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return the probability of each class for each text, float32 [N, C], in the order of ``classes_``."""
        check_is_fitted(self, "classifier_")
        found: NDArray[np.float32] = self.classifier_.predict_proba(_sequences(X))[:, self._columns]
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each text, [N]."""
        numbers = self.predict_proba(X).argmax(axis=1)
        found: NDArray[Any] = self.classes_[numbers]
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.non_deterministic = self.random_state is None
        return tags


_FREQUENT = ("epochs", "batch_size", "lr", "vocab_size", "max_length")


def _sequences(X: Any) -> list[Any]:
    """Return X as a list of texts or of arrays."""
    if isinstance(X, str) or not hasattr(X, "__iter__"):
        raise ValueError(f"X is {X!r:.40}; give a list of texts, or of sequences of numbers [T, D]")
    if getattr(X, "ndim", 1) == 2:
        raise ValueError(f"X has the shape {X.shape}; give one column of texts, [N], or sequences of numbers [N, T, D]")
    return [str(item) if isinstance(item, np.str_) else item for item in X]


def _seed(random_state: Any) -> int:
    if random_state is None or not isinstance(random_state, int | np.integer):
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return int(random_state)
