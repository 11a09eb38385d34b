from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy import LastStep, toy_config, toy_pairs, toy_splits

from seqcls import Callback, Classifier, Evaluation, FitState, Splits, Trainer
from seqcls.config.settings import Config
from seqcls.config.values import Monitor
from seqcls.data.batches import collate, training_order
from seqcls.data.datasets.reviews import ReviewsDataset
from seqcls.errors import CheckpointError, ConfigError, OutputExistsError, TrainingError
from seqcls.evaluation.calibration import calibrate
from seqcls.evaluation.scores import Score
from seqcls.model.encoders.lstm import LSTM
from seqcls.model.native.library import native
from seqcls.storage.model_directory import load_model_directory
from seqcls.storage.run_directory import RunDirectory
from seqcls.storage.snapshot import load_training
from seqcls.system.processes import World
from seqcls.training.failures import Recovery
from seqcls.training.loop import Loop
from seqcls.training.results import FitResult
from seqcls.training.scoring import Scorer
from seqcls.training.stopping import Signals, Stopping, TimeLimit


def _fit(tmp_path: Path, config: Config, *callbacks: Callback, name: str = "run", **more: Any) -> FitResult:
    return Trainer(None, toy_splits(), config=config, callbacks=callbacks, output=tmp_path / name, **more).fit()


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model_directory(path).weights


def _last(run: Path) -> Path:
    return run / "checkpoints" / json.loads((run / "checkpoints.json").read_text())["last"]


def _assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def _loop(trainer: Trainer, path: Path) -> Loop:
    data, model = trainer.prepare()
    state = FitState.start(
        trainer.config, data, model, run=path, device=torch.device("cpu"), world=World(), began=time.monotonic()
    )
    scorer = Scorer(trainer.config.fit, data, state.device, state.world)
    stopping = Stopping(state, signals=Signals(), limit=TimeLimit(0.0, None), scorer=scorer)
    recovery = Recovery(state, RunDirectory(path))
    return Loop(state, data, hooks=Callback(), scorer=scorer, stopping=stopping, recovery=recovery)


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, state: FitState) -> None:
        if state.step == self.step:
            state.stop("stopped by the test")


class Record(Callback):
    def __init__(self) -> None:
        self.evaluations: list[Evaluation] = []
        self.lrs: list[float] = []
        self.closed = 0

    def on_step_end(self, state: FitState) -> None:
        self.lrs.append(state.learning_rate.value)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        self.evaluations.append(evaluation)

    def close(self) -> None:
        self.closed += 1


def test_a_run_learns_and_says_how_well(tmp_path: Path) -> None:
    result = _fit(tmp_path, toy_config(epochs=30))
    assert result.test is not None
    assert result.validation is not None
    assert result.model_dir is not None
    assert result.test.accuracy == result.validation.accuracy == 1.0
    assert (result.test.correct, result.test.count) == (20, 20)
    assert result.stop_reason == "all epochs done"
    assert result.parameters == sum(tensor.numel() for tensor in _weights(result.model_dir).values())
    # The stored figures are those of the model: its own evaluation gives them again.
    score = Classifier.from_pretrained(result.model_dir).evaluate(toy_pairs(20, seed=2))
    assert score.loss == pytest.approx(result.test.loss, abs=1e-6)


def test_the_first_checkpoint_is_there_before_the_first_step(tmp_path: Path) -> None:
    class Look(Callback):
        def on_fit_start(self, state: FitState) -> None:
            found.append((state.step, sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())))

    found: list[tuple[int, list[str]]] = []
    _fit(tmp_path, toy_config(), Look())
    assert found == [(0, ["step-00000000"])]


def test_the_best_the_last_and_the_one_before_are_kept_and_no_other(tmp_path: Path) -> None:
    record = Record()
    result = _fit(tmp_path, toy_config(epochs=6, lr=0.3, checkpoint_every_steps=1), record)
    pointers = RunDirectory(result.run_dir).checkpoints.pointers()
    assert pointers is not None
    assert {path.name for path in (result.run_dir / "checkpoints").iterdir()} == pointers.names
    best = min(record.evaluations, key=lambda evaluation: evaluation.validation.loss)
    assert pointers.best.startswith(f"step-{best.step:08d}")
    assert result.validation is not None
    assert result.validation.correct == best.validation.correct
    rows = [json.loads(line) for line in (result.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [8, 16, 24, 32, 40, 48]
    assert [row["validation"]["loss"] for row in rows] == [evaluation.validation.loss for evaluation in record.evaluations]


def test_a_model_is_calibrated_on_validation(tmp_path: Path) -> None:
    record = Record()
    result = _fit(tmp_path, toy_config(epochs=5), record)
    assert result.model_dir is not None
    assert result.calibration is not None
    assert result.calibration.error_after <= result.calibration.error_before
    classifier = Classifier.from_pretrained(result.model_dir)
    assert classifier.temperature == result.calibration.temperature
    found = classifier.predictions(toy_splits(), split="validation")
    fitted = calibrate(torch.from_numpy(found.logits), torch.from_numpy(found.labels))
    assert fitted.temperature == pytest.approx(classifier.temperature, rel=1e-6)
    assert found.score == result.validation
    texts = [text for text, _ in toy_splits().validation]  # type: ignore[union-attr]
    np.testing.assert_allclose(classifier.predict_proba(texts), found.probabilities, atol=1e-6)
    np.testing.assert_allclose(
        np.log(found.probabilities[:, 0] / found.probabilities[:, 1]),
        (found.logits[:, 0] - found.logits[:, 1]) / classifier.temperature,
        rtol=1e-6,
    )
    stored = json.loads((result.model_dir / "metrics.json").read_text())
    assert stored["calibration"] == result.calibration.as_dict() == result.as_dict()["calibration"]
    copied = tmp_path / "copy"
    classifier.save_pretrained(copied)
    assert Classifier.from_pretrained(copied).temperature == classifier.temperature


@pytest.mark.skipif(native() is None, reason="there is no compiled code here, which tells all threads")
def test_training_flushes_denormals_and_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    class Look(Callback):
        def on_step_end(self, state: FitState) -> None:
            found.append(float((torch.full((2_000_000,), 1e-38) * 0.01).abs().max()))

    found: list[float] = []
    _fit(tmp_path, toy_config(epochs=1), Look())
    assert set(found) == {0.0}
    assert float((torch.full((2_000_000,), 1e-38) * 0.01).abs().min()) > 0


def test_calibration_can_be_left_out(tmp_path: Path) -> None:
    record = Record()
    result = _fit(tmp_path, toy_config(epochs=3, calibrate=False), record)
    assert result.model_dir is not None
    assert result.calibration is None
    assert result.validation == min((item.validation for item in record.evaluations), key=lambda score: score.loss)
    assert Classifier.from_pretrained(result.model_dir).temperature == 1
    assert "calibration" not in json.loads((result.model_dir / "metrics.json").read_text())


@pytest.mark.parametrize(("monitor", "best"), [("loss", 1), ("accuracy", 3), ("f1", 4)])
def test_the_best_checkpoint_is_that_of_the_monitored_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, monitor: Monitor, best: int
) -> None:
    # Of those that are equal in the monitored figure, the one with the lower loss is better, and then the earlier one.
    scores = iter(
        [
            Score(0.5, 0.6, 6, 10, macro_f1=0.3),
            Score(0.9, 0.8, 8, 10, macro_f1=0.4),
            Score(0.8, 0.8, 8, 10, macro_f1=0.5),
            Score(0.7, 0.7, 7, 10, macro_f1=0.5),
            Score(0.7, 0.7, 7, 10, macro_f1=0.5),
        ]
    )
    monkeypatch.setattr(Scorer, "score", lambda *_arguments, **_options: next(scores))
    splits = replace(toy_splits(), test=None)
    config = toy_config(epochs=5, monitor=monitor, calibrate=False)
    result = Trainer(splits, config=config, callbacks=[], output=tmp_path / "run").fit()
    assert result.validation == result.history[best - 1].validation
    pointers = json.loads((tmp_path / "run" / "checkpoints.json").read_text())
    assert pointers["best"] == f"step-{result.history[best - 1].step:08d}"


def test_patience_counts_evaluations_without_a_better_macro_f1(tmp_path: Path) -> None:
    result = _fit(tmp_path, toy_config(epochs=50, lr=1.0, schedule="constant", patience=2, monitor="f1"))
    assert result.stop_reason == "no better validation macro F1 in 2 evaluations"
    figures = [evaluation.validation.figure("f1") for evaluation in result.history]
    assert max(figures[-2:]) <= max(figures[:-2])


def test_patience_ends_a_run_with_a_reason(tmp_path: Path) -> None:
    result = _fit(tmp_path, toy_config(epochs=50, lr=1.0, schedule="constant", patience=2))
    assert "2 evaluations" in result.stop_reason
    assert len((result.run_dir / "metrics.jsonl").read_text().splitlines()) < 50


@pytest.mark.parametrize(
    "settings", [{}, {"ema_decay": 0.9}, {"schedule": "plateau"}, {"accumulate_batches": 2}, {"optimizer": "adamw"}]
)
@pytest.mark.parametrize("step", [3, 8])
def test_a_resumed_run_ends_as_the_uninterrupted_one(tmp_path: Path, settings: dict[str, Any], step: int) -> None:
    config = toy_config(epochs=3, **settings)
    step = step // config.fit.accumulate_batches
    whole = _fit(tmp_path, config, name="whole")
    cut = _fit(tmp_path, config, StopAt(step), name="cut")
    assert load_training(_last(cut.run_dir)).values["step"] == step
    random_state = torch.get_rng_state()
    torch.manual_seed(12345)  # a new process has another one
    resumed = Trainer.resume(cut.run_dir, data=toy_splits(), callbacks=[]).fit()
    assert not torch.equal(random_state, torch.get_rng_state())
    _assert_same(_weights(_last(whole.run_dir)), _weights(_last(resumed.run_dir)))
    _assert_same(load_training(_last(whole.run_dir)).tensors, load_training(_last(resumed.run_dir)).tensors)
    assert resumed.test == whole.test


def test_a_run_can_be_extended_but_not_altered(tmp_path: Path) -> None:
    run = _fit(tmp_path, toy_config(schedule="constant")).run_dir
    with pytest.raises(ConfigError, match=r"fit\.lr"):
        Trainer.resume(run, changes={"fit": {"lr": 0.5}}, data=toy_splits())
    longer = Trainer.resume(run, changes={"fit": {"epochs": 3}}, data=toy_splits(), callbacks=[]).fit()
    assert load_training(_last(longer.run_dir)).values["step"] == 24
    with pytest.raises(CheckpointError, match="other training or validation data"):
        Trainer.resume(run, data=toy_splits(32), callbacks=[]).fit()
    with pytest.raises(ConfigError, match="splits"):
        Trainer.resume(run)


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path: Path) -> None:
    runs = [_fit(tmp_path, toy_config(seed=seed), name=str(number)).run_dir for number, seed in enumerate((0, 0, 1))]
    _assert_same(_weights(_last(runs[0])), _weights(_last(runs[1])))
    assert not torch.equal(_weights(_last(runs[0]))["head.weight"], _weights(_last(runs[2]))["head.weight"])


def test_accumulated_batches_are_one_batch_of_all_their_examples(tmp_path: Path) -> None:
    # Without noise, without buckets and from one permutation, eight windows of 2 x 4 hold the examples of eight batches of 8
    # when the batch order is left as it was drawn: compare the first step's gradient through a plain SGD-like Adam update.
    silent = {"model": {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}}
    config = toy_config(bucket_by_length=False, schedule="constant").updated(silent, source="test")
    trainer = Trainer(None, toy_splits(), config=config, callbacks=[], output=tmp_path / "a")
    data, model = trainer.prepare()
    train = data.splits["train"]
    order = training_order(train.lengths, batch_size=8, seed=0, epoch=0, bucket=False)
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    updated = []
    for parts in ([order[0]], [order[0][:3], order[0][3:]]):
        model.load_state_dict(first)
        _loop(trainer, tmp_path)._train_step(parts, (collate(train, part) for part in parts))
        updated.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    for name, tensor in updated[0].items():
        assert torch.allclose(tensor, updated[1][name], atol=1e-6), name


def test_balanced_weights_give_each_class_the_same_say(tmp_path: Path) -> None:
    pairs = [(text, "bad" if number % 4 else "good") for number, (text, _) in enumerate(toy_pairs(40))]
    splits = Splits.from_pairs(pairs, validation=toy_pairs(8, seed=1))
    trainer = Trainer(None, splits, config=toy_config(class_weights="balanced"), callbacks=[], output=tmp_path / "run")
    data, _ = trainer.prepare()
    weights = _loop(trainer, tmp_path)._objective._class_weights
    assert weights is not None
    assert weights.tolist() == pytest.approx([40 / (2 * 30), 40 / (2 * 10)])  # N / (C * count), labels sorted: bad, good
    labels = torch.from_numpy(np.array(data.splits["train"].labels))
    assert float(weights[labels].mean()) == pytest.approx(1)
    assert trainer.fit().test is None


def test_the_time_of_a_run_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    class Clock(Callback):
        def __init__(self) -> None:
            self.readings: list[tuple[float, float]] = []

        def on_step_end(self, state: FitState) -> None:
            self.readings.append((state.seconds, time.monotonic()))

    before, after = Clock(), Clock()
    result = _fit(tmp_path, toy_config(), before, StopAt(5))
    Trainer.resume(result.run_dir, data=toy_splits(), callbacks=[after]).fit()
    for readings in (before.readings, after.readings):
        (first, began), *_, (last, ended) = readings
        assert last - first == pytest.approx(ended - began, rel=0.5)
    assert after.readings[0][0] > before.readings[-1][0]


def test_averaged_weights_are_the_ones_saved(tmp_path: Path) -> None:
    class Follow(Callback):
        average: dict[str, torch.Tensor] | None = None

        def on_step_end(self, state: FitState) -> None:
            new = {name: tensor.detach().clone() for name, tensor in state.model.named_parameters()}
            old = self.average
            self.average = new if old is None else {name: 0.9 * old[name] + 0.1 * new[name] for name in new}

    follow = Follow()
    result = _fit(tmp_path, toy_config(ema_decay=0.9), follow)
    saved = _weights(_last(result.run_dir))
    assert follow.average is not None
    for name, tensor in follow.average.items():
        assert torch.allclose(saved[name], tensor, atol=1e-6), name


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "one-cycle", "plateau"])
def test_every_schedule_runs_and_stays_under_its_peak(tmp_path: Path, schedule: str) -> None:
    record = Record()
    _fit(tmp_path, toy_config(schedule=schedule), record)
    assert len(record.lrs) == 16
    assert 0 < max(record.lrs) <= 0.01 + 1e-12
    assert (record.lrs[-1] < 0.001) == (schedule in ("linear", "cosine", "one-cycle"))


def test_bfloat16_runs_on_the_cpu(tmp_path: Path) -> None:
    assert _fit(tmp_path, toy_config(precision="bf16", epochs=1)).test is not None


def test_the_loss_shown_is_the_mean_over_examples(tmp_path: Path) -> None:
    result = _fit(tmp_path, toy_config(eval_batch_size=3))
    assert result.model_dir is not None
    classifier = Classifier.from_pretrained(result.model_dir)
    pairs = toy_pairs(20, seed=2)
    probabilities = torch.from_numpy(classifier.predict_proba([text for text, _ in pairs]))
    labels = torch.tensor([classifier.label_names.index(label) for _, label in pairs])
    assert result.test is not None
    assert result.test.loss == pytest.approx(float(F.nll_loss(probabilities.log(), labels)), abs=1e-5)


@pytest.mark.parametrize("step", [1, 5, 12])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path, step: int) -> None:
    record = Record()
    trainer = Trainer(
        LastStep(8, poison_after=step - 1),
        toy_splits(),
        config=toy_config(checkpoint_every_steps=1),
        callbacks=[record],
        output=tmp_path / "run",
    )
    with pytest.raises(TrainingError, match=f"at step {step},.*not finite"):
        trainer.fit()
    last = _last(tmp_path / "run")
    assert load_training(last).values["step"] == step - 1
    assert all(tensor.isfinite().all() for tensor in _weights(last).values())
    assert record.closed == 1


def test_an_encoder_that_is_registered_nowhere_can_be_trained_saved_and_loaded(tmp_path: Path) -> None:
    result = Trainer(LastStep(8, size=3), toy_splits(), config=toy_config(), callbacks=[], output=tmp_path / "run").fit()
    assert result.model_dir is not None
    texts = [text for text, _ in toy_pairs(5)]
    with pytest.raises(CheckpointError, match="LastStep"):
        Classifier.from_pretrained(result.model_dir)
    loaded = Classifier.from_pretrained(result.model_dir, encoder=LastStep(8, size=3))
    assert loaded.predict_proba(texts).shape == (5, 2)
    with pytest.raises(CheckpointError, match=r"encoder\.projection\.weight has shape \[3, 8\]"):
        Classifier.from_pretrained(result.model_dir, encoder=LastStep(8, size=4))


def test_a_built_encoder_of_a_registered_class_loads_without_being_named(tmp_path: Path) -> None:
    encoder = LSTM(6, hidden_size=5, pooling="max")
    result = Trainer(encoder, toy_splits(), config=toy_config(), callbacks=[], output=tmp_path / "run").fit()
    assert result.model_dir is not None
    recorded = Classifier.from_pretrained(result.model_dir).config.model.encoder_options
    assert {"hidden_size": 5, "pooling": "max"}.items() <= recorded.items()


def test_an_existing_folder_is_never_replaced_without_being_told(tmp_path: Path) -> None:
    run = _fit(tmp_path, toy_config()).run_dir
    before = _weights(run / "model")
    with pytest.raises(OutputExistsError, match="--force"):
        _fit(tmp_path, toy_config(seed=1))
    _assert_same(before, _weights(run / "model"))
    _fit(tmp_path, toy_config(seed=1), overwrite=True)
    assert not torch.equal(before["head.weight"], _weights(run / "model")["head.weight"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="not a run directory"):
        _fit(tmp_path, toy_config(), name="mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("output", ["file/run", "/proc/seqcls-run"])
def test_an_output_that_cannot_be_written_fails_before_training(tmp_path: Path, output: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CheckpointError, match="cannot write"):
        _fit(tmp_path, toy_config(), name=output)


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from toy import toy_config, toy_splits
from seqcls import Callback, Trainer
class Slow(Callback):
    def on_step_end(self, state):
        print(state.step, flush=True)
        time.sleep(0.05)
result = Trainer(None, toy_splits(), config=toy_config(epochs=200), callbacks=[Slow()], output={output!r}).fit()
sys.exit(0 if result.signal is None else 128 + result.signal)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    code = SCRIPT.format(tests=str(Path(__file__).parents[1]), output=str(tmp_path / "run"))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "5":
                process.send_signal(number)
                started = time.monotonic()
                break
        rest = process.stdout.read().split()
        assert process.wait(timeout=60) == 128 + number
    assert time.monotonic() - started < 10
    step = load_training(_last(tmp_path / "run")).values["step"]
    assert step == int((["5", *rest])[-1])
    changes = {"fit": {"epochs": 200}}
    resumed = Trainer.resume(tmp_path / "run", data=toy_splits(), changes=changes, callbacks=[StopAt(step + 2)]).fit()
    assert load_training(_last(resumed.run_dir)).values["step"] == step + 2


def test_built_objects_are_recorded_with_their_own_options_alone(tmp_path: Path) -> None:
    data = ReviewsDataset(train_size=40, validation_size=10, test_size=10)
    result = Trainer(LSTM(8, hidden_size=4), data, output=tmp_path / "run", callbacks=[StopAt(1)]).fit()
    assert result.model_dir is not None
    classifier = Classifier.from_pretrained(result.model_dir)
    assert {"hidden_size": 4, "num_layers": 1, "dropout": 0.0}.items() <= classifier.config.model.encoder_options.items()
    recorded = classifier.config.data.dataset_options
    assert recorded == {"train_size": 40, "validation_size": 10, "test_size": 10, "seed": 0}
    assert classifier.evaluate().score == result.test
    assert Trainer.resume(result.run_dir, callbacks=[StopAt(2)]).fit().test is not None


@pytest.mark.slow
def test_the_default_run_learns_what_a_bag_of_words_cannot(tmp_path: Path) -> None:
    result = Trainer("bilstm", "reviews", output=tmp_path / "run").fit()
    assert result.test is not None
    assert result.test.accuracy >= 0.95
