"""A trained model in use: load, predict, explain, evaluate, save."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from seqcls.config.settings import Config
from seqcls.config.values import OptionValue
from seqcls.data.encoding import encode_inputs, unknown_rates
from seqcls.data.labels import Scalar, as_given, listed, name_of, plain_label
from seqcls.data.preprocessor import Preprocessor
from seqcls.data.sequences import Sequences
from seqcls.data.sources import DataLike
from seqcls.errors import CheckpointError, DataError, UsageError
from seqcls.evaluation.assessment import Assessment
from seqcls.evaluation.decisions import decide
from seqcls.evaluation.predictions import Predictions
from seqcls.evaluation.scores import label_probabilities
from seqcls.inference.attribution import Example, Method, contributions
from seqcls.inference.explanation import Explanation
from seqcls.inference.labelled import encode_labelled
from seqcls.model.encoders.base import Encoder
from seqcls.model.forward import predict_logits
from seqcls.storage.hub import upload
from seqcls.storage.locate import resolve_model_path
from seqcls.storage.model_directory import load_model_directory, model_files, save_model_directory
from seqcls.storage.rebuild import SavedModel
from seqcls.system.deprecation import warn_renamed
from seqcls.system.device import resolve_device
from seqcls.system.untrusted import read_verified

_LABELS_SHOWN = 5  # in the repr


class Classifier:
    """A trained model with its preprocessor and its label names, loaded by `from_pretrained`.

    Example:
        >>> classifier = Classifier.from_pretrained("run")
        >>> classifier.predict(["Not a good film."])
        ['negative']
        >>> classifier.evaluate(split="validation").accuracy
        0.881
    """

    def __init__(self, saved: SavedModel, *, device: str = "auto", encoder: Encoder | None = None) -> None:
        self._saved = saved
        self._device = resolve_device(device)
        self._model = saved.build(encoder).to(self._device).eval()
        self._model.encoder.check_device(self._device)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: str = "auto", encoder: Encoder | None = None, revision: str | None = None
    ) -> Classifier:
        """Load a model directory, a checkpoint, the best model of a run directory, or a model from Hugging Face.

        Args:
            path: The directory; or "user/model", a repository on Hugging Face, unless there is a directory of that name.
            device: auto, cpu, cuda, cuda:N or mps.
            encoder: A built encoder to load the weights into, if the model was trained with one that is not registered.
            revision: A branch, a tag or a full commit hash of the repository; by default the branch main.

        Raises:
            CheckpointError: A file is missing or damaged, or the plugin of the encoder is not installed.
            HubError: The repository cannot be fetched, or does not hold a seqcls model.
            DeviceError: The device is not available.
        """
        saved = load_model_directory(resolve_model_path(Path(path), revision=revision))
        return cls(saved, device=device, encoder=encoder)

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.label_names[:_LABELS_SHOWN]))
        if len(self.label_names) > _LABELS_SHOWN:
            names += f", … ({len(self.label_names)} in all)"
        return (
            f"Classifier({str(self._saved.path)!r}, encoder={self.config.model.encoder!r}, labels=({names}), "
            f"parameters={self.num_parameters:,}, device={str(self._device)!r})"
        )

    @property
    def config(self) -> Config:
        """The settings of the run that trained the model."""
        return self._saved.config

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in the order of the columns of `predict_proba`."""
        return self._saved.label_names

    @property
    def labels(self) -> tuple[Scalar, ...]:
        """The labels as they were given for training, in the same order: those that were int or bool are so here."""
        return as_given(self.label_names, self._saved.label_values)

    @property
    def preprocessor(self) -> Preprocessor:
        """What encodes the sequences; its ``kind`` is "text" or "features"."""
        return self._saved.preprocessor

    @property
    def is_text(self) -> bool:
        """Deprecated: whether ``preprocessor.kind`` is "text"."""
        warn_renamed('Classifier.is_text is now preprocessor.kind == "text"')
        return self.preprocessor.kind == "text"

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have several labels, or none."""
        return self.thresholds is not None

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The probability from which a text gets each label, chosen on validation; None if a text has exactly one label."""
        return self._saved.thresholds

    @property
    def temperature(self) -> float:
        """The temperature that divides the logits, fitted on validation; 1 if the run did not calibrate."""
        return self._saved.temperature

    @property
    def num_parameters(self) -> int:
        """The number of weights."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def encode(self, texts: Iterable[Any]) -> Sequences:
        """Return the token ids that the model reads; for sequences of numbers, the scaled numbers.

        Raises:
            DataError: An item is not a str, or not of shape [T, D].
        """
        return encode_inputs(self.preprocessor, texts)

    def unknown_rates(self, texts: Iterable[Any] | Sequences) -> NDArray[np.float64]:
        """Return the share of words in each text that the vocabulary lacks, float64 [N]; 0 for sequences of numbers.

        Args:
            texts: N texts, or what `encode` returned for them.
        """
        return unknown_rates(texts if isinstance(texts, Sequences) else self.encode(texts))

    def predict_proba(self, texts: Iterable[Any] | Sequences) -> NDArray[np.float32]:
        """Return the probability of each label for each text.

        Args:
            texts: N texts; or N sequences of numbers, each [T, D]; in a list, a column of a data frame or any iterable; or
                what `encode` returned for them. An empty text is read as a single unknown word.

        Returns:
            float32 [N, C]: the softmax of the logits, so that rows sum to 1; where a text may have several labels, the
            sigmoid of each logit.

        Raises:
            DataError: An item is not a str, or not of shape [T, D]; or ``texts`` is a single text or a table.
        """
        sequences = texts if isinstance(texts, Sequences) else self.encode(texts)
        if not len(sequences):
            return np.zeros((0, len(self.label_names)), dtype=np.float32)
        logits = self._raw_logits(sequences) / self.temperature
        return np.asarray(label_probabilities(logits, is_multi_label=self.is_multi_label).numpy())

    def predict(self, texts: Iterable[Any], *, min_confidence: float = 0.0) -> Any:
        """Return the label of each text, of the type that it had in training, or the tuple of its labels.

        Raises like `predict_proba`.

        Args:
            texts: N texts, or N sequences of numbers, each [T, D].
            min_confidence: A text gets None if the model is less sure than this; see
                `seqcls.evaluation.decisions.confidence`.
        """
        return self.decide(self.predict_proba(texts), min_confidence=min_confidence)

    def decide(
        self, probabilities: NDArray[np.float32], *, min_confidence: float = 0.0
    ) -> list[Scalar | None] | list[tuple[Scalar, ...] | None]:
        """Return what `predict` returns, given the probabilities [N, C] of N texts.

        This is the most probable label. Where a text may have several labels, it is those whose probability reaches their
        threshold.
        """
        return decide(probabilities, self.labels, self.thresholds, min_confidence=min_confidence)

    def explain(self, text: Any, *, label: Scalar | None = None, method: Method = "integrated-gradients") -> Explanation:
        """Return what each token of a text contributes to a label.

        Args:
            text: A text, or a sequence of numbers [T, D].
            label: The label to explain; by default the most probable one.
            method: "integrated-gradients", whose contributions add up to the log-odds, or "occlusion", which hides one token
                at a time; see `seqcls.inference.attribution.contributions`.

        Raises:
            DataError: The model does not have the label, or ``text`` is not a text.
            UsageError: There is no such method.
        """
        if method not in get_args(Method):
            raise UsageError(f"there is no method {method!r}; give one of: {', '.join(get_args(Method))}")
        name = None if label is None else name_of(plain_label(label))
        if name is not None and name not in self.label_names:
            raise DataError(f"the model has no label {name!r}; it has {listed(self.label_names)}")
        probabilities = self.predict_proba([text])[0]
        index = int(probabilities.argmax()) if name is None else self.label_names.index(name)
        is_text = self.preprocessor.kind == "text"
        steps, spans, num_tokens = self.preprocessor.encode_with_spans(text)
        example = Example(torch.from_numpy(steps.astype(np.int64) if is_text else steps).to(self._device), spans)
        if self.preprocessor.ngrams is not None:
            ngrams, places = self.preprocessor.ngrams.encode_with_spans(text)
            words = self.preprocessor.ngrams.words_of(text)
            example = example.with_ngrams(torch.from_numpy(ngrams).long().to(self._device), places, words)
        values, gap = contributions(
            self._model,
            example,
            index,
            method=method,
            temperature=self.temperature,
            is_multi_label=self.is_multi_label,
        )
        return Explanation(
            label=self.label_names[index],
            probability=float(probabilities[index]),
            text=text if is_text else None,
            spans=example.units,
            contributions=values,
            method=method,
            gap=gap,
            num_tokens=num_tokens,
        )

    def evaluate(
        self,
        data: DataLike | None = None,
        *,
        split: str = "test",
        options: Mapping[str, OptionValue] | None = None,
        min_confidence: float = 0.0,
    ) -> Assessment:
        """Return the figures of the model on labelled data, which `seqcls evaluate` prints.

        Args:
            data: A registered data set's name, a path, a data set, splits, (text, label) pairs, or any other `DataLike`; by
                default the data set that the model was trained on, with its options.
            split: "train", "validation" or "test". Data that come without splits, and files, are scored as a whole.
            options: Options of the named data set or files, which override those it had in training.
            min_confidence: The figures ``coverage`` and ``selective_accuracy`` are of the examples whose confidence is at
                least this.

        Raises:
            DataError: The data lack the split, hold no example, or have a label that the model does not know.
        """
        return self.predictions(data, split=split, options=options).assess(min_confidence=min_confidence)

    def predictions(
        self,
        data: DataLike | None = None,
        *,
        split: str = "test",
        options: Mapping[str, OptionValue] | None = None,
        with_texts: bool = False,
    ) -> Predictions:
        """Return the predictions for labelled examples, from which figures are computed and files are written.

        Args:
            data: As for `evaluate`.
            split: As for `evaluate`.
            options: As for `evaluate`.
            with_texts: Whether to keep the texts, which may have to be read again.

        Raises:
            DataError: As for `evaluate`.
        """
        keeps_texts = with_texts and self.preprocessor.kind == "text"
        sequences, texts = encode_labelled(self._saved, data, split=split, options=options or {}, with_texts=keeps_texts)
        if not len(sequences):
            raise DataError("there is no example to evaluate")
        started = time.perf_counter()
        logits = self._raw_logits(sequences)
        seconds = time.perf_counter() - started
        return Predictions(
            self.label_names,
            logits.numpy(),
            np.array(sequences.labels),
            temperature=self.temperature,
            thresholds=self.thresholds,
            texts=texts if keeps_texts else None,
            seconds=seconds,
        )

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model directory to ``path``, which must not exist.

        Raises:
            CheckpointError: The path exists or cannot be written.
        """
        if Path(path).exists():
            raise CheckpointError(f"{path} exists; give a new folder")
        save_model_directory(
            Path(path),
            config=self.config,
            label_names=self.label_names,
            preprocessor=self.preprocessor,
            weights=self._model.state_dict(),
            metrics=self._saved.metrics,
            plugins=self._saved.plugins,
            thresholds=self._saved.thresholds,
            temperature=self._saved.temperature,
            split_digests=self._saved.split_digests,
            label_values=self._saved.label_values,
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        token: str | None = None,
    ) -> str:
        """Upload the files that the classifier was loaded from to a repository on Hugging Face, created if necessary.

        The files, the model card included, are uploaded unchanged in one commit. `from_pretrained` loads them by the name of
        the repository.

        Args:
            repo_id: "user/model".
            private: Whether a repository that is created is private; by default as the user or organization has chosen.
            revision: The branch, created if necessary; by default main.
            commit_message: The message of the commit.
            token: A token with write access; by default that of `hf auth login`, or HF_TOKEN.

        Returns:
            The URL of the commit.

        Raises:
            HubError: There is no permission or no network.
            CheckpointError: The files have changed since they were loaded.
            MissingExtraError: huggingface_hub is not installed.
        """
        read_verified(self._saved.path, model_files(self._saved.path))  # damaged files must not be passed on
        return upload(self._saved.path, repo_id, private=private, revision=revision, message=commit_message, token=token)

    def _raw_logits(self, sequences: Sequences) -> torch.Tensor:
        size = self.config.fit.eval_batch_size
        return predict_logits(self._model, sequences, device=self._device, batch_size=size)
