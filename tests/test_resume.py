"""A run that is interrupted and resumed, in new processes, ends with the same bits as one that is not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import assert_same_end, in_process, train
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Splits, Trainer, registry
from seqcls import environment as environment_module
from seqcls.checkpoint import load_training
from seqcls.errors import SeqclsError
from seqcls.run_directory import RunDirectory

BUILT_IN = sorted(info.name for info in registry.encoders.list() if info.provider == "seqcls")
# 64 examples in batches of 4, three to a step: six steps an epoch, the last of one batch; a validation every four steps.
STEPS = {"epochs": 2, "batch_size": 4, "accumulate": 3, "eval_every_steps": 4, "lr": 0.02}
# Each counted from the start or the resumption: the first step; within an epoch; within a step; in a validation; after a
# validation; at the end of an epoch.
PLACES = ["step 1", "step 2", "batch 2", "evaluating 1", "evaluation 1", "batch 1", "step 2"]


def _config(encoder: str = "lstm", *, model: dict[str, Any] | None = None, **fit: Any) -> dict[str, Any]:
    config = toy_config(**{**STEPS, **fit}).model_dump()
    options = {"hidden_size": 4} if "hidden_size" in registry.encoders.get(encoder).__init__.__annotations__ else {}
    config["model"] |= {"encoder": encoder, "encoder_options": options, **(model or {})}
    return dict(config)


def _run(path: Path, config: dict[str, Any], places: list[str]) -> list[tuple[int, list[int]]]:
    """Run to the end, killed by SIGTERM at each of the places; return the examples of every step."""
    steps = []
    for place in [*places, None]:
        done, number = in_process(train, str(path), config, place)
        assert (number is None) == (place is None), place
        steps += done
    return steps


def _assert_resumes(tmp_path: Path, config: dict[str, Any], places: list[str]) -> None:
    whole = _run(tmp_path / "whole", config, [])
    assert _run(tmp_path / "cut", config, places) == whole
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("encoder", BUILT_IN)
def test_every_encoder_resumes_from_every_place(tmp_path: Path, encoder: str) -> None:
    _assert_resumes(tmp_path, _config(encoder), PLACES)


@pytest.mark.parametrize("place", sorted({*PLACES, "step 6", "batch 7", "evaluating 2", "evaluating 3", "evaluation 3"}))
def test_each_place_alone_resumes(tmp_path: Path, place: str) -> None:
    _assert_resumes(tmp_path, _config(ema_decay=0.9), [place])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "one-cycle", "plateau"])
def test_every_schedule_resumes(tmp_path: Path, schedule: str) -> None:
    # At this rate some validations are no better than the one before: the plateau schedule then lowers it.
    config = _config(schedule=schedule, lr=3.0)
    _assert_resumes(tmp_path, config, ["batch 5", "evaluating 1", "evaluation 2", "evaluation 1"])
    rows = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert (len({row["lr"] for row in rows}) > 1) == (schedule != "constant")


@pytest.mark.parametrize(
    "settings",
    [
        {"ema_decay": 0.9, "optimizer": "adamw"},
        {"checkpoint_every_steps": 1},
        {"num_workers": 2},
        {"threads": 2},
        {"precision": "bf16"},
        {"bucket": False, "clip_norm": None, "class_weights": "balanced"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_kind_of_training_resumes(tmp_path: Path, settings: dict[str, Any]) -> None:
    _assert_resumes(tmp_path, _config(**settings), PLACES)


def test_noise_of_every_kind_resumes(tmp_path: Path) -> None:
    options = {"hidden_size": 4, "num_layers": 2, "dropout": 0.3, "weight_dropout": 0.3, "bidirectional": True}
    noise = {"word_dropout": 0.4, "embedding_dropout": 0.4, "output_dropout": 0.4, "encoder_options": options}
    config = _config(model=noise)
    _assert_resumes(tmp_path, config, PLACES)


def test_patience_is_counted_on_over_an_interruption(tmp_path: Path) -> None:
    # At this rate the fourth validation stays the best; the run must end three later, however it is cut up.
    config = _config(lr=3.0, schedule="constant", patience=3, epochs=20)
    _assert_resumes(tmp_path, config, ["evaluation 5", "evaluation 1", "step 1"])
    values = load_training(RunDirectory(tmp_path / "cut").pointed("last") or Path()).values
    assert values["stale_evaluations"] == 3
    assert values["epoch"] < 20


def test_the_number_of_workers_makes_no_difference(tmp_path: Path) -> None:
    steps = [_run(tmp_path / str(count), _config(num_workers=count), []) for count in (0, 2)]
    assert steps[0] == steps[1]
    assert_same_end(tmp_path / "0", tmp_path / "2")


def test_the_examples_are_shuffled_and_all_different(tmp_path: Path) -> None:
    # Else the tests above would not see a wrong order.
    steps = _run(tmp_path / "run", _config(), [])
    epochs = [[index for _, indices in part for index in indices] for part in (steps[:6], steps[6:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(64))
    assert epochs[0] != epochs[1] != sorted(epochs[1])


def test_the_same_seed_in_two_processes_gives_the_same_bits(tmp_path: Path) -> None:
    options = {"hidden_size": 4, "num_layers": 2, "dropout": 0.3, "bidirectional": True}
    config = _config(model={"word_dropout": 0.4, "output_dropout": 0.4, "encoder_options": options}, ema_decay=0.9)
    steps = [_run(tmp_path / name, config, []) for name in ("one", "other")]
    assert steps[0] == steps[1]
    assert_same_end(tmp_path / "one", tmp_path / "other")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "metrics.json"):
        assert (tmp_path / "one" / "model" / name).read_bytes() == (tmp_path / "other" / "model" / name).read_bytes()


def test_another_seed_gives_other_bits(tmp_path: Path) -> None:
    steps = [_run(tmp_path / str(seed), _config(seed=seed), []) for seed in (0, 1)]
    assert steps[0] != steps[1]
    with pytest.raises(AssertionError):
        assert_same_end(tmp_path / "0", tmp_path / "1")


def _warnings_of_resuming(path: str, environment: dict[str, Any], threads: int) -> list[str]:
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("seqcls").addHandler(handler)
    describe = environment_module.describe_environment
    environment_module.describe_environment = lambda *arguments: {**describe(*arguments), **environment}
    Trainer.resume(path, data=toy_splits(), changes={"fit": {"threads": threads}}, callbacks=[]).fit()
    return messages


@pytest.mark.parametrize(
    ("environment", "threads", "difference"),
    [
        ({}, 1, None),
        ({}, 2, "threads 1 -> 2"),
        ({"torch": "2.99.0"}, 1, f"torch {torch.__version__} -> 2.99.0"),
        ({"device": "NVIDIA H200, CUDA 13.0, cuDNN 91000"}, 1, "device cpu -> NVIDIA H200, CUDA 13.0, cuDNN 91000"),
        ({"numpy": "1.0", "cpu_capability": "none"}, 1, "numpy "),
    ],
)
def test_a_run_that_goes_on_elsewhere_says_what_differs(
    tmp_path: Path, environment: dict[str, Any], threads: int, difference: str | None
) -> None:
    _, number = in_process(train, str(tmp_path / "run"), _config(threads=1), "step 2")
    assert number
    warnings = in_process(_warnings_of_resuming, str(tmp_path / "run"), environment, threads)
    if difference is None:
        assert warnings == []
    else:
        (warning,) = warnings
        assert warning.startswith("the run goes on in another environment, so that the bits may differ: ")
        assert difference in warning
        assert warning.count(" -> ") == max(len(environment), 1)


def test_a_run_goes_on_with_its_own_data_only(tmp_path: Path) -> None:
    in_process(train, str(tmp_path / "run"), _config(), "step 2")
    pairs = toy_pairs(64)
    turned = Splits.from_pairs([pairs[1], pairs[0], *pairs[2:]], validation=toy_pairs(16, seed=1))
    with pytest.raises(SeqclsError, match="training data"):
        Trainer.resume(tmp_path / "run", data=turned, callbacks=[]).fit()
