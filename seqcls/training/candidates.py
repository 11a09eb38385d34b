"""The models among which `AutoTrainer` chooses, as settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from seqcls.config.auto import DataShape
from seqcls.config.settings import DataConfig
from seqcls.data.static_vectors import WORDLLAMA

FEW_EXAMPLES = 1000
"""With fewer training examples, only linear models of texts are tried, and candidates are compared by cross-validation."""
WORDS_ALONE = "linear, words alone"
"""The name of the linear model without n-grams of characters; those after it have the n-grams that were better."""
MANY_TOKENS = 2_000_000
"""With more tokens in the training texts, only n-grams are tried: all else takes minutes, and validates no better (IMDB)."""


@dataclass(frozen=True)
class Candidate:
    """A model to try.

    Attributes:
        name: What it is called, in a few words.
        settings: The settings that make it, by name.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def ngrams(self) -> dict[str, Any]:
        """Those of the settings that say which n-grams it reads."""
        return {name: value for name, value in self.settings.items() if name.endswith("_ngrams")}


def first_candidate(kind: str) -> Candidate:
    """Return the quickest candidate for texts or for features."""
    if kind == "text":
        return Candidate("linear", {"encoder": "linear", "ensemble": 1})
    return Candidate("bilstm", {"encoder": "bilstm"})


def candidates_for(shape: DataShape, data: DataConfig) -> list[Candidate]:
    """Return the models that fit the data, the quickest one first.

    Pretrained vectors are among them where the extra `static` is installed, and no other tokenizer is asked for.
    """
    found = [first_candidate(shape.kind)]
    if shape.kind == "features":
        return found
    if shape.character_ngrams and data.character_ngrams == "auto":
        # Characters know inflections and misspellings, but not what a review says: its accuracy falls by two points (SST-2).
        found.append(Candidate(WORDS_ALONE, {**found[0].settings, "character_ngrams": 0}))
    if shape.examples * shape.mean_length > MANY_TOKENS:
        return found
    has_vectors = data.tokenizer in ("auto", WORDLLAMA) and find_spec(WORDLLAMA) is not None
    if has_vectors:
        options = {"encoder": "mean-pool", "encoder_options": {"normalized": True}, "ensemble": 1}
        found.append(Candidate("linear with static vectors", {**options, "embedding": "static", "wide": True}))
    if shape.examples < FEW_EXAMPLES:
        return found
    if has_vectors:
        tuned = {"embedding": "static", "embedding_options": {"tune": True}, "wide": True}
        found.append(Candidate("wide bilstm, static vectors", {"encoder": "bilstm", **tuned}))
    else:
        found.append(Candidate("wide cnn", {"encoder": "cnn", "wide": True}))
    return found
