"""Pretrained static vectors: one vector per token of a tokenizer that comes with them, in folders of two known forms.

Model2Vec writes model.safetensors with "embeddings", perhaps "weights" and "mapping", and tokenizer.json. WordLlama has
NAME.safetensors with "embedding.weight", and NAME_tokenizer_config.json, which is a tokenizer.json, too.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqcls.data.preprocessor import Truncating
from seqcls.data.rules import SPECIALS
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import DataError, MissingExtraError
from seqcls.system.hub import download_files, is_repo_id
from seqcls.system.untrusted import parse_tensors, read_file

if TYPE_CHECKING:  # where only the names of data are read, torch would take seconds
    from torch import Tensor

WORDLLAMA = "wordllama"
"""The name of the vectors that the package wordllama ships: 32,000 tokens, 256 numbers each, 16 MB (extra `static`)."""

_TABLES = ("model.safetensors", "*.safetensors")
_TOKENIZERS = ("tokenizer.json", "*_tokenizer_config.json")  # tokenizer_config.json is another thing, of transformers
_WORDLLAMA_FILES = ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json")
_NAMES = ("embeddings", "embedding.weight")
_INTEGERS = ("torch.int32", "torch.int64")
_TOKENIZER_LIMIT = 64 << 20


class StaticVectors(NamedTuple):
    """Vectors and the tokenizer whose ids are their rows.

    Attributes:
        table: float32 [V, D], scaled so that the mean square of its values is 1; zeros for padding and the unknown word.
        tokenizer: Turns texts into ids in 0..V - 1.
    """

    table: NDArray[np.float32]
    tokenizer: TextTokenizer


def read_static_vectors(source: str = WORDLLAMA) -> StaticVectors:
    """Read static vectors.

    Args:
        source: A folder; or "user/model", a repository on Hugging Face, if there is no folder "user" here; or `WORDLLAMA`.

    Raises:
        DataError: There is no such folder, or it does not hold static vectors.
        CheckpointError: A file cannot be read, or is damaged.
        HubError: The repository cannot be downloaded.
        MissingExtraError: wordllama is not installed.
    """
    table, tokenizer = _find_files(source)
    loaded = _load_tokenizer(tokenizer)
    vectors = _read_table(table, count=loaded.input_size - loaded.id_offset)
    rows = np.zeros((loaded.input_size, vectors.shape[1]), dtype=np.float32)
    rows[len(SPECIALS) :] = vectors[len(SPECIALS) - loaded.id_offset :]
    scale = float(np.sqrt(np.square(rows[len(SPECIALS) :], dtype=np.float64).mean()))
    if not np.finfo(np.float32).tiny < scale < np.inf:
        raise DataError(
            f"{table} cannot be used: its values are all zero, or not finite; get the vectors from their source again"
        )
    rows /= scale
    return StaticVectors(rows, loaded)


def read_static_tokenizer(source: str, *, max_length: int | None = None, truncating: Truncating = "middle") -> TextTokenizer:
    """Read the tokenizer of static vectors alone; raises like `read_static_vectors`."""
    return _load_tokenizer(_find_files(source)[1], max_length=max_length, truncating=truncating)


def static_vector_size(source: str) -> int:
    """Return the number of values of each vector; raises like `read_static_vectors`."""
    path = _find_files(source)[0]
    return int(_find_table(parse_tensors(read_file(path, None), path), path).shape[1])


def has_form_of_source(name: str) -> bool:
    """Return whether ``name`` can be the source of static vectors, which are not looked for on Hugging Face."""
    return name == WORDLLAMA or Path(name).is_dir() or is_repo_id(name)


def _load_tokenizer(path: Path, *, max_length: int | None = None, truncating: Truncating = "middle") -> TextTokenizer:
    data = read_file(path, _TOKENIZER_LIMIT)
    return TextTokenizer.from_json(data, path, max_length=max_length, truncating=truncating)


def _find_files(source: str) -> tuple[Path, Path]:
    """Return the safetensors file and the tokenizer of a source."""
    if source == WORDLLAMA:
        # Importing the package would take seconds, and it configures logging.
        spec = find_spec(WORDLLAMA)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(WORDLLAMA, "static")
        folder = Path(spec.submodule_search_locations[0])
        table, tokenizer = (folder / name for name in _WORDLLAMA_FILES)
        return table, tokenizer
    folder = Path(source)
    if not folder.is_dir():
        if not is_repo_id(source):
            raise DataError(
                f"there is no folder {source} of static vectors; give a folder, the name of a repository on Hugging Face, "
                f"or {WORDLLAMA}"
            )
        folder = download_files(source, (*_TABLES, *_TOKENIZERS))
    return _find_file(folder, _TABLES), _find_file(folder, _TOKENIZERS)


def _find_file(folder: Path, patterns: tuple[str, ...]) -> Path:
    """Return the file of the first pattern that one in the folder matches, or else one in a folder directly inside."""
    for place in ("", "*/"):
        for pattern in patterns:
            found = sorted(folder.glob(place + pattern))
            if len(found) > 1:
                names = ", ".join(path.relative_to(folder).as_posix() for path in found[:5])
                raise DataError(
                    f"{folder} holds several files {pattern} ({names}); put the one to use in a folder of its own"
                )
            if found:
                return found[0]
    raise DataError(f"{folder} does not hold static vectors: it lacks {' or '.join(patterns)}")


def _read_table(path: Path, *, count: int) -> NDArray[np.float32]:
    """Return the vectors of the first ``count`` tokens, float32 [count, D], multiplied by their weights."""
    tensors = parse_tensors(read_file(path, None), path)
    table, mapping, weights = _find_table(tensors, path), tensors.get("mapping"), tensors.get("weights")
    rows = np.arange(count)
    if mapping is not None:
        _check_per_token(mapping, "mapping", path, count, is_valid=str(mapping.dtype) in _INTEGERS)
        rows = mapping[:count].long().numpy()
    if not 0 <= rows.min() <= rows.max() < len(table):
        raise DataError(f"{path} has {len(table):,} vectors, too few for the {count:,} tokens of its tokenizer")
    vectors = table.float().numpy()[rows]
    if weights is not None:
        _check_per_token(weights, "weights", path, count, is_valid=weights.is_floating_point())
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
            vectors *= weights[:count].float().numpy()[:, None]
    return vectors


def _find_table(tensors: dict[str, Tensor], path: Path) -> Tensor:
    tables = {
        name: tensor
        for name, tensor in tensors.items()
        if tensor.ndim == 2 and tensor.numel() and (tensor.is_floating_point() or str(tensor.dtype) == "torch.int8")
    }
    name = next((name for name in _NAMES if name in tables), next(iter(tables), None) if len(tables) == 1 else None)
    if name is None:
        found = ", ".join(f"{name:.40} {list(tensor.shape)}" for name, tensor in sorted(tensors.items())[:5])
        raise DataError(f"{path} does not hold a table of vectors, {' or '.join(_NAMES)}; it has {found or 'no tensors'}")
    return tables[name]


def _check_per_token(tensor: Tensor, name: str, path: Path, count: int, *, is_valid: bool) -> None:
    if not is_valid or tensor.ndim != 1 or len(tensor) < count:
        raise DataError(
            f"{path}: {name} is {tensor.dtype} of shape {list(tensor.shape)}, and should have one number for each of "
            f"{count:,} tokens"
        )
