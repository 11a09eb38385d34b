from __future__ import annotations

import random
from typing import Annotated, Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from torch import Tensor

from seqcls import Config, Encoder, load_recipe, registry
from seqcls.apps.tuning.dimensions import Choice, Interval, Sizes, dimension_of
from seqcls.apps.tuning.space import search_space
from seqcls.config.auto import DataShape, fit_to_data
from seqcls.errors import ConfigError
from seqcls.model.build import build_encoder


def _start(**names: str) -> Config:
    return fit_to_data(load_recipe("default", **names), DataShape("text", examples=20_000, classes=2, mean_length=19))


class AtRandom:
    """What chooses, without Optuna."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._random.choice(list(choices))

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        assert not log or low > 0
        return self._random.uniform(low, high)


class Odd(Encoder):
    """An encoder of a third party, with an option of each kind."""

    def __init__(
        self,
        input_size: int,
        *,
        width: Annotated[int, Field(ge=8, multiple_of=8)] = 16,
        depth: Annotated[int, Field(ge=1, le=2)] = 1,
        keep: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        scale: Annotated[float, Field(gt=0)] = 2.0,
        gated: bool = False,
        order: Literal[1, 2, 3] = 2,
        path: str = "anywhere",
        limit: int | None = None,
        window: int | None = 8,
        only: Literal["one"] = "one",
    ) -> None:
        super().__init__()
        self.output_size = input_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x.sum(dim=1)


@pytest.fixture
def _odd() -> None:
    registry.encoders.register("odd")(Odd)


@pytest.mark.usefixtures("_odd")
def test_the_options_of_a_plugin_are_searched_as_its_signature_says() -> None:
    found = search_space(_start(encoder="odd")).dimensions
    options = {name.rpartition(".")[2]: value for name, value in found.items() if name.startswith("model.encoder_options.")}
    assert options == {
        "width": Sizes(16, (8, 16, 32, 64)),
        "depth": Sizes(1, (1, 2)),
        "keep": Interval(0.1, 0.0, 0.6),
        "scale": Interval(2.0, 0.2, 20.0, is_log=True),
        "gated": Choice(False, (False, True)),
        "order": Choice(2, (1, 2, 3)),
        "window": Sizes(8, (2, 4, 8, 16, 32)),
    }


@pytest.mark.usefixtures("_odd")
def test_what_is_fixed_is_not_searched_and_given_values_are_started_from() -> None:
    start = _start(encoder="odd").updated({"model": {"encoder_options": {"width": 64}}}, source="test")
    space = search_space(start, fixed={"fit.lr", "keep", "model.encoder_options.gated"})
    assert not {"fit.lr", "model.encoder_options.keep", "model.encoder_options.gated"} & set(space.dimensions)
    assert space.dimensions["model.encoder_options.width"].start == 64
    with pytest.raises(ConfigError, match="there is no option 'depht'; did you mean 'depth'"):
        search_space(start.updated({"model": {"encoder_options": {"depht": 1}}}, source="test"))


def test_the_vocabulary_is_searched_only_where_the_size_counts() -> None:
    start = _start()
    assert "data.vocab_size" not in search_space(start).dimensions
    assert search_space(start, with_vocabulary=True).dimensions["data.vocab_size"] == Sizes(30_000, (7_500, 15_000, 30_000))
    with pytest.warns(DeprecationWarning, match="num_words is now vocab_size"):
        assert "data.vocab_size" not in search_space(start, fixed={"num_words"}, with_vocabulary=True).dimensions
    numbers = start.updated({"model": {"embedding": "features"}}, source="test")
    assert not {"data.vocab_size", "model.word_dropout"} & set(search_space(numbers, with_vocabulary=True).dimensions)


@pytest.mark.parametrize("encoder", sorted(set(registry.encoders.builtins) - {"linear"}))
def test_every_trial_of_a_built_in_encoder_can_be_built(encoder: str) -> None:
    space = search_space(_start(encoder=encoder))
    assert space.with_values(space.starts).model.encoder == encoder
    for seed in range(10):
        trial = AtRandom(seed)
        values = {name: dimension.suggest(trial, name) for name, dimension in space.dimensions.items()}
        config = space.with_values(values)
        with torch.device("meta"):
            assert build_encoder(config.model).output_size >= 1
        for name, dimension in space.dimensions.items():
            if not isinstance(dimension, Interval):
                assert dimension.parameter(values[name]) is not None


@given(start=st.integers(1, 10**6), low=st.integers(1, 100), high=st.integers(100, 10**7))
def test_integers_stay_valid_ascend_and_hold_the_start(start: int, low: int, high: int) -> None:
    found = dimension_of(start, (), lambda value: isinstance(value, int) and low <= value <= high)
    if found is not None:
        assert isinstance(found, Sizes)
        assert start in found.values
        assert list(found.values) == sorted(set(found.values))
        assert all(low <= value <= high for value in found.values if value != start)
        assert [found.values[found.parameter(value)] for value in found.values] == list(found.values)  # type: ignore[index]


@given(start=st.floats(1e-6, 1e6), low=st.floats(0, 1e-3), high=st.floats(10, 1e7), draw=st.floats(0, 1))
def test_numbers_stay_between_valid_ends(start: float, low: float, high: float, draw: float) -> None:
    class Drawn(AtRandom):
        def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
            return low + draw * (high - low)

    found = dimension_of(start, (), lambda value: low < value < high)  # type: ignore[operator]
    if found is not None:
        assert isinstance(found, Interval)
        assert found.low <= start <= found.high
        assert all(low < value < high for value in (found.low, found.high) if value != start)
        assert found.low <= found.suggest(Drawn(0), "any") <= found.high  # type: ignore[operator]


def test_what_has_no_known_values_is_left_alone() -> None:
    for start in ("text", None, -1, -1.0, 0, 0.0):
        assert dimension_of(start, (), lambda value: True) is None
