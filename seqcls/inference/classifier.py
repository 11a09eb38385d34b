"""A trained model in use: load, predict, evaluate, save."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray

from seqcls.config.data_paths import is_data_path
from seqcls.config.settings import Config, DataConfig
from seqcls.config.values import OptionValue
from seqcls.data.datasets.arrays import read_arrays
from seqcls.data.datasets.base import Dataset
from seqcls.data.datasets.files import FilesDataset
from seqcls.data.encoding import encode, encode_inputs, unknown_rates
from seqcls.data.labels import Label, pack_labels
from seqcls.data.pairs import check_pair, pairs_of
from seqcls.data.prepare import SPLITS, build_dataset, is_usable, load_splits, prepare_data
from seqcls.data.preprocessor import Preprocessor
from seqcls.data.sequences import Sequences
from seqcls.data.sources import DataLike, source_of
from seqcls.data.splits import Splits
from seqcls.errors import CheckpointError, DataError, UsageError
from seqcls.evaluation.decisions import decide
from seqcls.evaluation.predictions import Predictions
from seqcls.evaluation.scores import Score, label_probabilities
from seqcls.inference.explanation import Explanation, Method, contributions
from seqcls.model.encoders.base import Encoder
from seqcls.model.forward import predict_logits
from seqcls.storage.hub import upload
from seqcls.storage.model_directory import MODEL_FILES, SavedModel, load_model_directory, save_model_directory
from seqcls.storage.run_directory import resolve_model_path
from seqcls.system.device import resolve_device
from seqcls.system.memory import keep_freed_memory
from seqcls.system.untrusted import read_verified

_Found = TypeVar("_Found")


_ONLY_PATH: dict[str, OptionValue] = {"validation": None, "test": None}


class Classifier:
    """A trained model with its tokenizer and label names; made by `from_pretrained`."""

    def __init__(self, saved: SavedModel, *, device: str = "auto", encoder: Encoder | None = None) -> None:
        self._saved = saved
        self._device = resolve_device(device)
        if self._device.type == "cpu":
            keep_freed_memory()
        self._model = saved.build(encoder).to(self._device).eval()
        self._model.encoder.check_device(self._device)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: str = "auto", encoder: Encoder | None = None, revision: str | None = None
    ) -> Classifier:
        """Load a model directory, a checkpoint, the best model of a run directory, or a model from Hugging Face.

        Args:
            path: The directory; or "user/model", a repository of Hugging Face, where no folder of that name is here.
            device: auto, cpu, cuda, cuda:N or mps.
            encoder: A built encoder to load the weights into, where the model was trained with one that is not registered.
            revision: Of a repository: a branch, a tag or a whole commit hash; by default the branch main.

        Raises:
            CheckpointError: A file is missing or damaged, or the encoder's plugin is not installed.
            HubError: The repository cannot be fetched, or holds no model of seqcls.
            DeviceError: The device is not there.
        """
        saved = load_model_directory(resolve_model_path(Path(path), revision=revision))
        return cls(saved, device=device, encoder=encoder)

    @property
    def config(self) -> Config:
        """The settings of the run that made the model."""
        return self._saved.config

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of `predict_proba`'s columns."""
        return self._saved.label_names

    @property
    def preprocessor(self) -> Preprocessor:
        """What encodes the sequences; its ``kind`` is "text" or "features"."""
        return self._saved.preprocessor

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have several labels, or none."""
        return self.thresholds is not None

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The probability from which on a text has a label, for each; chosen on validation. None if a text has one label."""
        return self._saved.thresholds

    @property
    def temperature(self) -> float:
        """What the logits are divided by, so that probabilities are honest; fitted on validation, 1 if that was left out."""
        return self._saved.temperature

    @property
    def num_parameters(self) -> int:
        """The number of weights."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def encode(self, texts: Sequence[Any]) -> Sequences:
        """Return the token ids that the model would read."""
        return encode_inputs(self.preprocessor, texts)

    def unknown_rates(self, texts: Sequence[Any] | Sequences) -> NDArray[np.float64]:
        """Return, for each text, or what `encode` made of it, the share of its words that the model does not know.

        float64 [N].
        """
        return unknown_rates(texts if isinstance(texts, Sequences) else self.encode(texts))

    def predict_proba(self, texts: Sequence[Any] | Sequences) -> NDArray[np.float32]:
        """Return the probability of each label for each text.

        Args:
            texts: N texts, an empty one read as a single unknown word; or N sequences of numbers, [T, D]; or what `encode`
                made of either.

        Returns:
            float32 [N, C]: the softmax over the logits, so that rows sum to 1; where a text may have several labels, the
            sigmoid of each logit.

        Raises:
            DataError: An item is not a str.
        """
        sequences = texts if isinstance(texts, Sequences) else self.encode(texts)
        if not len(sequences):
            return np.zeros((0, len(self.label_names)), dtype=np.float32)
        logits = self._raw_logits(sequences) / self.temperature
        return np.asarray(label_probabilities(logits, is_multi_label=self.is_multi_label).numpy())

    @overload
    def predict(self, texts: Sequence[Any]) -> list[str] | list[tuple[str, ...]]: ...

    @overload
    def predict(self, texts: Sequence[Any], *, min_confidence: float) -> list[str | None] | list[tuple[str, ...] | None]: ...

    def predict(self, texts: Sequence[Any], *, min_confidence: float = 0.0) -> Any:
        """Return the label of each text, or the tuple of its labels; raises like `predict_proba`.

        With ``min_confidence``, None for a text of which the model is less sure than that: see
        `seqcls.evaluation.decisions.confidence`.
        """
        return self.decide(self.predict_proba(texts), min_confidence=min_confidence)

    def decide(
        self, probabilities: NDArray[np.float32], *, min_confidence: float = 0.0
    ) -> list[str | None] | list[tuple[str, ...] | None]:
        """Return what `predict` says of the probabilities [N, C] of N texts.

        That is the most probable label; where a text may have several, those whose probability reaches the label's threshold
        in `thresholds`.
        """
        return decide(probabilities, self.label_names, self.thresholds, min_confidence=min_confidence)

    def explain(self, text: Any, *, label: str | None = None, method: Method = "integrated-gradients") -> Explanation:
        """Return what each token of a text contributes to a label.

        Args:
            text: A text, or a sequence of numbers [T, D].
            label: The label to explain; by default the most probable.
            method: "integrated-gradients", whose contributions add up to the log-odds, or "occlusion", which hides one token
                at a time; see `seqcls.inference.explanation.contributions`.

        Raises:
            DataError: The model has no such label, or the text is none.
            UsageError: There is no such method.
        """
        if method not in get_args(Method):
            raise UsageError(f"there is no method {method!r}; give one of: {', '.join(get_args(Method))}")
        if label is not None and label not in self.label_names:
            raise DataError(f"the model has no label {label!r}; it has {', '.join(self.label_names)}")
        probabilities = self.predict_proba([text])[0]
        number = int(probabilities.argmax()) if label is None else self.label_names.index(label)
        is_text = self.preprocessor.kind == "text"
        steps, spans, total = self.preprocessor.encode_with_spans(text)
        inputs = torch.from_numpy(steps.astype(np.int64) if is_text else steps)
        values, gap = contributions(
            self._model,
            inputs.to(self._device),
            number,
            method=method,
            temperature=self.temperature,
            is_multi_label=self.is_multi_label,
        )
        return Explanation(
            label=self.label_names[number],
            probability=float(probabilities[number]),
            text=text if is_text else None,
            spans=spans,
            contributions=values,
            method=method,
            gap=gap,
            num_tokens=total,
        )

    def evaluate(
        self,
        data: DataLike | None = None,
        *,
        split: str = "test",
        options: Mapping[str, OptionValue] | None = None,
    ) -> Score:
        """Score the model.

        Args:
            data: A registered data set's name, a path, a data set, splits, or (text, label) pairs; by default the data set
                the model was trained on, with the options it had then. Of a path, all rows are scored.
            split: "train", "validation" or "test"; of no account for pairs and paths.
            options: Options of the named data set or files, over those it had in training.

        Raises:
            DataError: The data lacks the split, or has a label that the model does not know.
        """
        return self.predictions(data, split=split, options=options).score

    def predictions(
        self,
        data: DataLike | None = None,
        *,
        split: str = "test",
        options: Mapping[str, OptionValue] | None = None,
        with_texts: bool = False,
    ) -> Predictions:
        """Return what the model says of labelled examples, for figures of each label or for a file.

        Args:
            data: As for `evaluate`, and likewise `split` and `options`.
            split: "train", "validation" or "test".
            options: Options of the named data set or files.
            with_texts: Keep the texts as well, which may have to be read anew.

        Raises:
            DataError: As `evaluate`.
        """
        with_texts = with_texts and self.preprocessor.kind == "text"
        sequences, texts = self._labelled(data, split, dict(options or {}), with_texts=with_texts)
        if not len(sequences):
            raise DataError("there is no example to evaluate")
        assert sequences.labels is not None
        started = time.perf_counter()
        logits = self._raw_logits(sequences)
        seconds = time.perf_counter() - started
        return Predictions(
            self.label_names,
            logits.double().numpy(),
            np.array(sequences.labels),
            temperature=self.temperature,
            thresholds=self.thresholds,
            texts=texts if with_texts else None,
            seconds=seconds,
        )

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model directory to ``path``, which must not exist.

        Raises:
            CheckpointError: It exists or cannot be written.
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
        """Send the files that the classifier was loaded from to a repository of Hugging Face, made if there is none.

        They go as they are, the model card too, in one commit; `from_pretrained` loads them by the repository's name.

        Args:
            repo_id: "user/model".
            private: Whether a repository that is made is private; by default what the user or organization has chosen.
            revision: The branch, made if there is none; by default main.
            commit_message: The commit's.
            token: One that may write; by default that of `hf auth login`, or HF_TOKEN.

        Returns:
            The address of the commit.

        Raises:
            HubError: There is no permission or no network.
            CheckpointError: The files have changed since they were loaded.
            MissingExtraError: huggingface_hub is not installed.
        """
        read_verified(self._saved.path, MODEL_FILES)  # what is damaged is not handed on
        return upload(self._saved.path, repo_id, private=private, revision=revision, message=commit_message, token=token)

    def _raw_logits(self, sequences: Sequences) -> torch.Tensor:
        size = self.config.fit.eval_batch_size
        return predict_logits(self._model, sequences, device=self._device, batch_size=size)

    def _labelled(
        self,
        data: DataLike | None,
        split: str,
        options: dict[str, OptionValue],
        *,
        with_texts: bool,
    ) -> tuple[Sequences, list[Any] | None]:
        """Return the encoded examples to score, their labels numbered as the model numbers them, and what was encoded.

        That is None where the encoded data came from the cache.
        """
        config = self.config.data
        name = config.dataset if data is None else source_of(data) if isinstance(data, Path | Mapping) else data
        if isinstance(name, str) and name == SPLITS:
            raise DataError("the model was trained on splits given as objects; pass the data to evaluate")
        if not isinstance(name, str):
            pairs = labelled_pairs(name, split, config) if isinstance(name, Dataset | Splits) else pairs_of(name)
            return self._encode(pairs)
        if is_data_path(name):
            options = {**(config.dataset_options if config.dataset == "files" else {}), **_ONLY_PATH, **options}
            files = build_dataset(DataConfig(dataset=name, dataset_options=options))
            return self._encode(files.pairs() if isinstance(files, FilesDataset) else read_arrays(Path(name)))
        options = {**(config.dataset_options if name == config.dataset else {}), **options}
        config = config.model_copy(update={"dataset": name, "dataset_options": options})
        if config == self.config.data and is_usable(config.tokenizer) and not with_texts:
            # The run left the encoded data in the cache, and reading text again would take longer than the evaluation.
            prepared = prepare_data(config)
            if (prepared.preprocessor.to_json(), prepared.label_names) == (self.preprocessor.to_json(), self.label_names):
                return _named(prepared.splits, split), None
        return self._encode(labelled_pairs(build_dataset(config), split, config))

    def _encode(self, pairs: Iterable[tuple[Any, Label]]) -> tuple[Sequences, list[Any]]:
        """Encode texts, their labels numbered as the model numbers them; return the texts too."""
        kind = self.preprocessor.kind
        is_text = kind == "text"
        number = {name: index for index, name in enumerate(self.label_names)}
        texts: list[str] = []
        numbers: list[tuple[int, ...]] = []
        for index, item in enumerate(pairs):
            text, label = check_pair(item, f"data[{index}]")
            if isinstance(text, str) != is_text:
                raise DataError(f"data[{index}] is {'not ' if is_text else ''}a text; the model reads {kind}")
            names = [str(label)] if isinstance(label, int | str) else list(label)
            unknown = [name for name in names if name not in number]
            if unknown or (len(names) != 1 and not self.is_multi_label):
                raise DataError(
                    f"data[{index}] has the label {label!r}, which the model does not know: it knows {list(number)}"
                )
            texts.append(text)
            numbers.append(tuple(number[name] for name in names))
        labels = pack_labels(numbers, len(number) if self.is_multi_label else None)
        return encode(self.preprocessor, texts, labels), texts


def labelled_pairs(source: Dataset | Splits, split: str, config: DataConfig) -> Iterator[tuple[Any, Label]]:
    """Yield the examples of a split with the names of their labels."""
    splits = load_splits(config, source)
    names = splits.label_names
    for sequence, label in _named(splits.labelled(), split):
        yield sequence, names[label] if isinstance(label, int) else [names[number] for number in label or ()]


def _named(splits: Mapping[str, _Found], name: str) -> _Found:
    if name not in splits:
        raise DataError(f"the data has no {name} split; it has {', '.join(splits)}")
    return splits[name]
