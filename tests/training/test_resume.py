"""A run that is interrupted and resumed, in new processes, ends with the same bits as one that is not."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import Log, assert_same_end, in_process, train
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Splits, Trainer, registry
from seqcls.config.toml import load_toml
from seqcls.errors import SeqclsError
from seqcls.storage.resolved_options import resolve_options
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.training import environment as environment_module
from seqcls.training import loop as loop_module

BUILT_IN = sorted(info.name for info in registry.encoders.plugins() if info.provider == "seqcls")
BUILT_IN.remove("linear")  # which makes no steps
# 64 examples in batches of 4, three to a step: six steps an epoch, the last of one batch; a validation every four steps.
STEPS = {"epochs": 2, "batch_size": 4, "accumulate_batches": 3, "eval_every_steps": 4, "lr": 0.02}
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
        {"bucket_by_length": False, "clip_norm": None, "class_weights": "balanced"},
        {"ema_decay": 0.9, "num_workers": 2, "schedule": "cosine"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_kind_of_training_resumes(tmp_path: Path, settings: dict[str, Any]) -> None:
    _assert_resumes(tmp_path, _config(**settings), PLACES)


def test_noise_of_every_kind_resumes(tmp_path: Path) -> None:
    options = {"hidden_size": 4, "num_layers": 2, "dropout": 0.3, "weight_dropout": 0.3, "bidirectional": True}
    noise = {"word_dropout": 0.4, "embedding_dropout": 0.4, "output_dropout": 0.4, "encoder_options": options}
    config = _config(model=noise, ema_decay=0.9, num_workers=2)
    _assert_resumes(tmp_path, config, PLACES)


def test_patience_is_counted_on_over_an_interruption(tmp_path: Path) -> None:
    # At this rate the fourth validation stays the best; the run must end three later, however it is cut up.
    config = _config(lr=3.0, schedule="constant", patience=3, epochs=20)
    _assert_resumes(tmp_path, config, ["evaluation 5", "evaluation 1", "step 1"])
    values = load_training(RunDirectory(tmp_path / "cut").checkpoints.pointed("last") or Path()).values
    assert values["stale_evaluations"] == 3
    assert values["epoch"] < 20
    # What has come to its end has nothing left to train; with more patience it has.
    again, _ = in_process(train, str(tmp_path / "cut"), config)
    assert again == []
    assert_same_end(tmp_path / "whole", tmp_path / "cut")
    resumed = Trainer.resume(tmp_path / "cut", data=toy_splits(), changes={"fit": {"patience": 4}}, callbacks=[])
    assert resumed.fit().stop_reason == "no better validation loss in 4 evaluations"


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
        assert "environment has changed" in warning
        assert difference in warning
        assert warning.count(" -> ") == max(len(environment), 1)


def test_a_run_goes_on_with_its_own_data_only(tmp_path: Path) -> None:
    in_process(train, str(tmp_path / "run"), _config(), "step 2")
    pairs = toy_pairs(64)
    turned = Splits.from_pairs([pairs[1], pairs[0], *pairs[2:]], validation=toy_pairs(16, seed=1))
    judged = Splits.from_pairs(pairs, validation=toy_pairs(16, seed=3))
    for other in (turned, judged):
        with pytest.raises(SeqclsError, match="other training or validation data"):
            Trainer.resume(tmp_path / "run", data=other, callbacks=[]).fit()


def test_a_run_goes_on_with_its_own_class_weights_only(tmp_path: Path) -> None:
    weights = tmp_path / "weights.json"
    weights.write_text('{"bad": 1, "good": 2}')
    in_process(train, str(tmp_path / "run"), _config(class_weights=str(weights)), "step 2")
    weights.write_text('{"bad": 1, "good": 3}')
    with pytest.raises(SeqclsError, match="other class weights"):
        Trainer.resume(tmp_path / "run", data=toy_splits(), callbacks=[]).fit()


def test_a_run_goes_on_with_its_own_example_weights_only(tmp_path: Path) -> None:
    splits = _splits_of("weights")
    trainer = Trainer(splits, config=toy_config(), callbacks=[Log("step 2")], output=tmp_path / "run")
    assert trainer.fit().signal is not None
    assert splits.train.weights is not None
    other = replace(splits, train=replace(splits.train, weights=splits.train.weights + 1))
    with pytest.raises(SeqclsError, match="other training or validation data"):
        Trainer.resume(tmp_path / "run", data=other, callbacks=[]).fit()


def test_a_run_is_not_resumed_for_fewer_epochs(tmp_path: Path) -> None:
    in_process(train, str(tmp_path / "run"), _config(), "step 2")
    with pytest.raises(SeqclsError, match="2 epochs cannot be resumed for 1"):
        Trainer.resume(tmp_path / "run", data=toy_splits(), changes={"fit": {"epochs": 1}})


def test_the_settings_of_a_run_are_those_it_was_resumed_with(tmp_path: Path) -> None:
    in_process(train, str(tmp_path / "run"), _config())
    Trainer.resume(tmp_path / "run", data=toy_splits(), changes={"fit": {"epochs": 3}}, callbacks=[]).fit()
    assert load_toml(tmp_path / "run" / "config.toml")["fit"]["epochs"] == 3


def test_a_resumed_run_keeps_the_values_that_fitted_its_data(tmp_path: Path) -> None:
    config = toy_config().replace(epochs="auto", lr="auto", output_dropout="auto", patience=None)
    trainer = Trainer(toy_splits(), config=config, callbacks=[Log("step 2")], output=tmp_path / "run")
    assert trainer.fit().signal is not None
    chosen = trainer.config
    assert chosen.open_settings() == []
    resumed = Trainer.resume(tmp_path / "run", data=toy_splits(), epochs="auto", callbacks=[Log("step 4")])
    assert resumed.config == resolve_options(chosen)
    assert resumed.config.chosen == chosen.chosen != ()
    longer = Trainer.resume(tmp_path / "run", data=toy_splits(), epochs=200, callbacks=[])
    assert longer.config.fit.epochs == 200
    assert set(longer.config.chosen) == set(chosen.chosen) - {"fit.epochs"}


def _splits_of(kind: str) -> Splits:
    rng = np.random.default_rng(0)
    if kind == "weights":
        splits = toy_splits()
        return replace(splits, train=replace(splits.train, weights=rng.integers(0, 4, 64) / 2))
    if kind == "several labels":
        pairs: list[Any] = [(text, [label, "long"][: 1 + len(text) // 30]) for text, label in toy_pairs(64)]
    else:
        pairs = [(rng.normal(size=(1 + number % 7, 3)).astype(np.float32), "ab"[number % 2]) for number in range(64)]
    return Splits.from_pairs(pairs, validation=pairs[:16])


def _train_on(path: str, kind: str, stop: str | None) -> int | None:
    log = Log(stop)
    loop_module.split_batch = log.counting("batch", loop_module.split_batch)
    if Path(path, "checkpoints").is_dir():
        return Trainer.resume(path, data=_splits_of(kind), callbacks=[log]).fit().signal
    config = toy_config(**STEPS, label_smoothing=0.1)
    return Trainer(None, _splits_of(kind), config=config, callbacks=[log], output=path).fit().signal


@pytest.mark.parametrize("kind", ["several labels", "numbers", "weights"])
def test_other_kinds_of_data_resume(tmp_path: Path, kind: str) -> None:
    assert in_process(_train_on, str(tmp_path / "whole"), kind, None) is None
    for stop in ("step 2", "batch 2", "evaluation 1"):
        assert in_process(_train_on, str(tmp_path / "cut"), kind, stop) is not None
    assert in_process(_train_on, str(tmp_path / "cut"), kind, None) is None
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


def test_commands_that_share_nothing_give_the_same_bits(tmp_path: Path) -> None:
    """New interpreters with hashes of their own, n-grams, and data that the resumed one reads from the cache."""
    command = [sys.executable, "-m", "seqcls", "fit", "--no-baseline", "--no-report", "--quiet"]
    start = [
        "--dataset-option",
        "train_size=100",
        "--dataset-option",
        "test_size=20",
        "--embedding",
        "ngram-hash",
        "--embedding-option",
        "buckets=1000",
        "--encoder",
        "mean-pool",
        "--epochs",
        "3",
    ]
    start += ["--set", "checkpoint_every_steps=1"]
    for name, parts in (("whole", 1), ("cut", 2)):
        for part in range(parts):
            arguments = ["--resume", str(tmp_path / name)] if part else [*start, "--output", str(tmp_path / name)]
            environment = {**os.environ, "PYTHONHASHSEED": str(7 * parts + part)}
            with subprocess.Popen([*command, *arguments], env=environment, stdout=subprocess.DEVNULL) as process:
                while part + 1 < parts and process.poll() is None:
                    if (tmp_path / name / "checkpoints" / "step-00000003").is_dir():
                        process.terminate()
                        break
                    time.sleep(0.005)
            assert process.returncode == (143 if part + 1 < parts else 0)
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


def test_deterministic_algorithms_are_asked_for_and_resume(tmp_path: Path) -> None:
    _assert_resumes(tmp_path, _config(deterministic=True), ["batch 5"])
    assert in_process(_uses_deterministic_algorithms, str(tmp_path / "run"))


def _uses_deterministic_algorithms(path: str) -> bool:
    train(path, _config(deterministic=True, epochs=1))
    return torch.are_deterministic_algorithms_enabled()
