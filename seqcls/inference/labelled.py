"""Labelled data to score a trained model on: where they are found, and how they are encoded for the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from seqcls import registry
from seqcls.config.data_paths import is_data_path
from seqcls.config.settings import DataConfig
from seqcls.config.values import OptionValue
from seqcls.data.datasets.arrays import read_arrays
from seqcls.data.datasets.base import Dataset
from seqcls.data.datasets.files import FilesDataset
from seqcls.data.encoding import EncodedData, encode
from seqcls.data.labels import Label, names_of, pack_labels
from seqcls.data.pairs import check_pair, pairs_of
from seqcls.data.prepare import SPLITS, build_dataset, is_usable, load_raw, load_splits, prepare_data
from seqcls.data.preprocessor import Preprocessor
from seqcls.data.sequences import Sequences
from seqcls.data.sources import DataLike, source_of
from seqcls.data.splits import Splits
from seqcls.errors import DataError, PluginError, UnknownNameError
from seqcls.storage.rebuild import SavedModel

logger = logging.getLogger("seqcls")

_T = TypeVar("_T")

_ONE_FILE: dict[str, OptionValue] = {"validation": None, "test": None}


def encode_labelled(
    saved: SavedModel, data: DataLike | None, *, split: str, options: Mapping[str, OptionValue], with_texts: bool
) -> tuple[Sequences, list[Any] | None]:
    """Find the examples to score the model on, and encode them; the label indices are those of the model.

    Args:
        saved: The model.
        data: As for `Classifier.evaluate`.
        split: The split, where the data have splits.
        options: Options of the data set, which override those it had in training.
        with_texts: Whether the texts are needed, so that encoded data from the cache do not suffice.

    Returns:
        The encoded sequences, and the sequences that were encoded; None for the latter if they came from the cache.

    Raises:
        DataError: The data lack the split, or an example has a label that the model does not know.
    """
    trained_on = saved.config.data
    source = trained_on.dataset if data is None else data
    if isinstance(source, Path | Mapping):
        source = source_of(source)
    if not isinstance(source, str):
        pairs = labelled_pairs(saved, source, split) if isinstance(source, Dataset | Splits) else pairs_of(source)
        return _encode_pairs(saved, pairs)
    if source == SPLITS:
        raise DataError("the model was trained on splits given as objects; pass the data to evaluate")
    if is_data_path(source):
        _warn_of_training_rows(source, trained_on)
        inherited = trained_on.dataset_options if trained_on.dataset == "files" else {}
        return _encode_pairs(saved, _pairs_of_file(source, {**inherited, **_ONE_FILE, **options}))
    inherited = trained_on.dataset_options if source == trained_on.dataset else {}
    config = trained_on.model_copy(update={"dataset": source, "dataset_options": {**inherited, **options}})
    if config == trained_on and not with_texts and (cached := _from_cache(saved)) is not None:
        check_held_out(saved, split, cached.digests.get)
        return _split_of(cached.splits, split, config), None
    return _encode_pairs(saved, labelled_pairs(saved, config, split))


def labelled_pairs(saved: SavedModel, source: DataConfig | Dataset | Splits, split: str) -> Iterator[tuple[Any, Label]]:
    """Yield the examples of a split with the names of their labels.

    Args:
        saved: The model that is to be asked about them.
        source: The data, or the settings that name them.
        split: The split. If the data come without it, it is held out as it was for the training.

    Raises:
        DataError: There is no such split, or it may have examples that the model was trained on.
    """
    config = source if isinstance(source, DataConfig) else saved.config.data
    raw = load_raw(config, None if isinstance(source, DataConfig) else source)
    splits = load_splits(config, raw)
    names = splits.label_names
    if _is_own(saved.config.data, source, is_held_out=split not in raw.labelled()):
        check_held_out(saved, split, splits.digest_of)
    for sequence, label in _split_of(splits.labelled(), split, config):
        yield sequence, names[label] if isinstance(label, int) else [names[number] for number in label or ()]


def _is_own(trained_on: DataConfig, source: DataConfig | Dataset | Splits, *, is_held_out: bool) -> bool:
    """Return whether data are those that a model was trained on, perhaps changed since, or may be parts of them.

    Of objects that a model was trained on, only those that are held out again can be known.
    """
    if isinstance(source, Splits):
        return is_held_out and trained_on.dataset == SPLITS
    if isinstance(source, DataConfig):
        return (source.dataset, source.dataset_options.get("path")) == (
            trained_on.dataset,
            trained_on.dataset_options.get("path"),
        )
    if trained_on.dataset == SPLITS:
        return is_held_out
    try:
        is_same_class = registry.datasets.get(trained_on.dataset) is type(source)
    except (UnknownNameError, PluginError):  # a class of a script, which cannot be imported by its name
        is_same_class = trained_on.dataset == f"{type(source).__module__}:{type(source).__qualname__}"
    return is_same_class and source.options.get("path") == trained_on.dataset_options.get("path")


def check_held_out(saved: SavedModel, split: str, digest_of: Callable[[str], str | None]) -> None:
    """Raise a DataError if a split of the data of a model may have examples that it was trained on: the data have changed.

    It has none if it is the split that was held out, or if the model was trained on what is in the other splits.

    Args:
        saved: The model.
        split: The split.
        digest_of: As `Splits.digest_of` of the data.
    """
    known = saved.split_digests
    if known is None or split == "train" or known.get(split) == digest_of(split):
        return
    if any(known[name] != digest_of(name) for name in known if name not in (split, "test")):
        raise DataError(
            f"the data have changed since the model was trained, or are others: their {split} split may have examples that "
            "it was trained on; give it new examples in a file of their own, or train again"
        )


def _warn_of_training_rows(path: str, trained_on: DataConfig) -> None:
    learned_from = trained_on.dataset_options.get("path")
    if isinstance(learned_from, str) and Path(path).absolute() == Path(learned_from).absolute():
        logger.warning(
            "%s is the file that the model was trained on, and examples that it knows say little about others; "
            "without --dataset, those are scored that were held out",
            path,
        )


def _pairs_of_file(path: str, options: dict[str, OptionValue]) -> Iterable[tuple[Any, Label]]:
    dataset = build_dataset(DataConfig(dataset=path, dataset_options=options))
    return dataset.pairs() if isinstance(dataset, FilesDataset) else read_arrays(Path(path))


def _from_cache(saved: SavedModel) -> EncodedData | None:
    """Return the data as the model's run encoded them, which is much faster than reading them again, if they are valid."""
    if not is_usable(saved.config.data.tokenizer):
        return None
    prepared = prepare_data(saved.config.data)
    is_same = prepared.preprocessor.to_json() == saved.preprocessor.to_json() and prepared.label_names == saved.label_names
    return prepared if is_same and _ngrams_of(prepared.preprocessor) == _ngrams_of(saved.preprocessor) else None


def _ngrams_of(preprocessor: Preprocessor) -> bytes | None:
    """Return the n-grams of the wide path, in a form that can be compared; None without that path."""
    return None if preprocessor.ngrams is None else preprocessor.ngrams.to_safetensors()


def _encode_pairs(saved: SavedModel, pairs: Iterable[tuple[Any, Label]]) -> tuple[Sequences, list[Any]]:
    """Encode (sequence, label) pairs; return the sequences themselves too."""
    kind, is_multi_label = saved.preprocessor.kind, saved.thresholds is not None
    index_of = {name: index for index, name in enumerate(saved.label_names)}
    sequences: list[Any] = []
    indices: list[tuple[int, ...]] = []
    for number, item in enumerate(pairs):
        sequence, label = check_pair(item, f"data[{number}]")
        if isinstance(sequence, str) != (kind == "text"):
            raise DataError(f"data[{number}] is {'not ' if kind == 'text' else ''}a text; the model reads {kind}")
        names = names_of(label)
        if not all(name in index_of for name in names) or (len(names) != 1 and not is_multi_label):
            raise DataError(
                f"data[{number}] has the label {label!r}, which the model does not know; it knows {list(index_of)[:20]}"
            )
        sequences.append(sequence)
        indices.append(tuple(index_of[name] for name in names))
    labels = pack_labels(indices, len(index_of) if is_multi_label else None)
    return encode(saved.preprocessor, sequences, labels), sequences


def _split_of(splits: Mapping[str, _T], name: str, config: DataConfig) -> _T:
    if name not in splits:
        all_in_training = "; the model was trained on all examples but those of test: give new ones as the data"
        hint = all_in_training if config.train_on == "all" else ""
        raise DataError(f"the data has no {name} split; it has {', '.join(splits)}{hint}")
    return splits[name]
