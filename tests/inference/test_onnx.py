"""Models as ONNX files, beside PyTorch; and files that are none of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model.encoders.test_conformance import CASES
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, OnnxClassifier, Splits, Trainer, export_onnx, load_recipe, registry
from seqcls.apps.cli.app import main
from seqcls.errors import CheckpointError, DataError, MissingExtraError, OutputExistsError, UsageError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from seqcls.inference.portable import onnx_export, onnx_graph  # noqa: E402 - they need both

TEXTS = [text for text, _ in toy_pairs(20, seed=7)] + ["", "?!", "完全に", "superb " * 300, "a\ud800b"]
SMALL = {"hidden_size": 8}
# The sizes of options that are not about the form of the graph, so that tests are quick.
SIZES: dict[str, dict[str, Any]] = {
    "mean-pool": {},
    "cnn": {"num_filters": 3},
    "transformer": {**SMALL, "num_heads": 2, "feedforward_size": 8},
}


def _train(folder: Path, encoder: str, options: dict[str, Any], splits: Splits | None = None, **more: Any) -> Path:
    changes = {
        "fit": {"epochs": 1, "batch_size": 32, "lr": 0.01, "device": "cpu"},
        "model": {"embedding_size": 6, "encoder_options": options, **more},
        "data": {"vocab_size": 100, "max_length": 60},
    }
    config = load_recipe("default", encoder=encoder).replace(encoder_options={}).updated(changes, source="test")
    return Trainer(None, splits or toy_splits(), config=config, callbacks=[], output=folder / "run").fit().run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(tmp_path_factory.mktemp("trained"), "lstm", SMALL)


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    return export_onnx(run, run.parent / "model.onnx").path


def _assert_same(run: Path, inputs: list[Any]) -> OnnxClassifier:
    result = export_onnx(run, run.parent / "same.onnx")
    assert result.largest_difference < 1e-5
    ours, torchs = OnnxClassifier.from_pretrained(result.path), Classifier.from_pretrained(run, device="cpu")
    np.testing.assert_allclose(ours.predict_proba(inputs), torchs.predict_proba(inputs), atol=1e-5)
    assert ours.predict(inputs, min_confidence=0.55) == torchs.predict(inputs, min_confidence=0.55)
    np.testing.assert_array_equal(ours.unknown_rates(inputs), torchs.unknown_rates(inputs))
    return ours


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_encoder_answers_as_in_torch(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    _assert_same(_train(tmp_path, name, {**SIZES.get(name, SMALL), **options}), TEXTS)


@pytest.mark.parametrize("max_n", [2, 5])
def test_hashed_ngrams_answer_as_in_torch(tmp_path: Path, max_n: int) -> None:
    embedding = {"embedding": "ngram-hash", "embedding_options": {"max_n": max_n, "buckets": 500}}
    _assert_same(_train(tmp_path, "mean-pool", {}, **embedding), [*TEXTS, "superb", "superb film"])


def test_several_labels_answer_as_in_torch(tmp_path: Path) -> None:
    pairs = [(text, [label] if index % 3 else [label, "odd"]) for index, (text, label) in enumerate(toy_pairs(60))]
    ours = _assert_same(_train(tmp_path, "lstm", SMALL, Splits.from_pairs(pairs, validation=pairs[:20])), TEXTS)
    assert ours.is_multi_label


def test_sequences_of_numbers_answer_as_in_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(rng.integers(1, 9), 3)).astype(np.float32), "ab"[number % 2]) for number in range(40)]
    splits = Splits.from_pairs(pairs, validation=pairs[:10])
    ours = _assert_same(
        Trainer(None, splits, config=toy_config(), callbacks=[], output=tmp_path / "run").fit().run,
        [steps for steps, _ in pairs],
    )
    assert ours.preprocessor.kind == "features"


def test_the_file_alone_answers_where_there_is_no_torch(exported: Path, run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(exported.read_bytes())
    code = f"""
import json, sys
sys.modules["torch"] = None
from seqcls import OnnxClassifier
print(json.dumps(OnnxClassifier.from_pretrained({str(alone)!r}).predict_proba(["superb", "awful"]).tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = Classifier.from_pretrained(run, device="cpu").predict_proba(["superb", "awful"])
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)


def test_a_graph_that_differs_from_torch_is_not_kept(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = OnnxClassifier._run
    monkeypatch.setattr(OnnxClassifier, "_run", lambda *given: original(*given) + np.float32(1e-4))
    with pytest.raises(CheckpointError, match=r"random batch 0, of lengths .* differs from PyTorch's by 0\.0001"):
        export_onnx(run, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_8_bits_cost_what_is_said(tmp_path: Path) -> None:
    changes = {
        "fit": {"epochs": 1, "device": "cpu", "batch_size": 64},
        "model": {"embedding_size": 32},
        "data": {"dataset": "reviews", "dataset_options": {"train_size": 400, "validation_size": 100, "test_size": 2}},
    }
    config = load_recipe("default", encoder="mean-pool").updated(changes, source="test")
    run = Trainer(None, None, config=config, callbacks=[], output=tmp_path / "run").fit().run
    result = export_onnx(run, tmp_path / "model.onnx", int8=True)
    assert result.int8 is not None
    assert result.int8.float32 == Classifier.from_pretrained(run, device="cpu").evaluate(split="validation").score
    assert result.int8.int8.count == result.int8.float32.count
    assert 0 < result.int8.largest_difference < 0.1
    assert abs(result.int8.accuracy_loss) < 0.05
    ours = OnnxClassifier.from_pretrained(result.path)
    assert ours.precision == "int8"
    together = ours.predict_proba(TEXTS)
    np.testing.assert_array_equal(together, np.concatenate([ours.predict_proba([text]) for text in TEXTS]))


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("bilstm-mean-pool", "cnn", "transformer") else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(registry.encoders.builtins)
    ],
)
def test_8_bits_are_near(tmp_path: Path, name: str) -> None:
    run = _train(tmp_path, name, SIZES.get(name, SMALL))
    result = export_onnx(run, tmp_path / "model.onnx", int8=True)
    assert result.int8 is None
    assert result.reason == "the model was trained on splits given as objects"
    expected = Classifier.from_pretrained(run, device="cpu").predict_proba(TEXTS)
    np.testing.assert_allclose(OnnxClassifier.from_pretrained(result.path).predict_proba(TEXTS), expected, atol=0.01)


def test_an_encoder_of_others_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _train(tmp_path, "lstm", SMALL)
    monkeypatch.delitem(onnx_graph._ENCODERS, "lstm")
    with pytest.raises(UsageError, match="lstm has no ONNX form; those that have one are bilstm-mean-pool, cnn"):
        export_onnx(run, tmp_path / "model.onnx")


def test_wrong_outputs_are_told_at_once(run: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="choose another --output"):
        export_onnx(run, exported)
    with pytest.raises(UsageError, match=r"another ending than \.onnx"):
        export_onnx(run, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="cannot write"):
        export_onnx(run, tmp_path / "none" / "model.onnx")
    with pytest.raises(CheckpointError, match="there is no model directory"):
        export_onnx(tmp_path / "none", tmp_path / "model.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(
    run: Path, exported: Path, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; run: pip install 'seqcls\[onnx\]'"):
        export_onnx(run, tmp_path / "model.onnx")
    with pytest.raises(MissingExtraError, match=r"pip install 'seqcls\[onnx\]'"):
        OnnxClassifier.from_pretrained(exported)


def test_what_is_no_text_is_told(exported: Path) -> None:
    classifier = OnnxClassifier.from_pretrained(exported)
    with pytest.raises(DataError, match=r"texts\[1\] is a int"):
        classifier.predict(["superb", 3])
    with pytest.raises(DataError, match="not one text"):
        classifier.predict("superb")
    assert classifier.predict_proba([]).shape == (0, 2)


def _rewrite(exported: Path, path: Path, change: Any) -> Path:
    model = onnx.load_model(exported)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def _property(model: Any, name: str, value: str) -> None:
    next(entry for entry in model.metadata_props if entry.key == f"seqcls.{name}").value = value


def _external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="/etc/passwd")


def _in_a_body(model: Any) -> None:
    body = onnx.helper.make_graph([onnx.helper.make_node("Loop", [], ["x"])], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Scan", [], ["y"], body=body, num_scan_inputs=0))


def _constant_outside(model: Any) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(2, dtype=np.float32))
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    model.graph.node.append(onnx.helper.make_node("Identity", [], ["y"], value=tensor))


def _more_labels(model: Any) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == "seqcls.config.json")
    config = json.loads(entry.value)
    entry.value = json.dumps({**config, "label_names": [*config["label_names"], "another"]})


HOSTILE: dict[str, tuple[Any, str]] = {
    "of another program": (lambda model: model.ClearField("metadata_props"), r"lacks seqcls\.config\.json in its metadata"),
    "weights in another file": (_external, "keeps values outside of the file"),
    "an attribute in another file": (_constant_outside, "keeps values outside of the file"),
    "an operator": (lambda model: model.graph.node.append(onnx.helper.make_node("Loop", [], ["x"])), "operator 'Loop'"),
    "an operator inside": (_in_a_body, "operator 'Loop'"),
    "functions": (lambda model: model.functions.add(), "has functions of its own"),
    "a config that is none": (lambda model: _property(model, "config.json", "{"), "is not valid JSON"),
    "another version": (lambda model: _property(model, "config.json", '{"format_version": 9}'), "format version 9"),
    "a form": (lambda model: _property(model, "config.json", '{"format_version": 1}'), "label_names: Field required"),
    "a tokenizer": (lambda model: _property(model, "tokenizer.json", '{"model": 1}'), r"tokenizer\.json"),
    "a large tokenizer": (lambda model: _property(model, "tokenizer.json", " " * ((64 << 20) + 1)), "above 67,108,864"),
    "a precision": (lambda model: _property(model, "precision", "int4"), "the precision 'int4'"),
    "no nodes": (lambda model: model.graph.ClearField("node"), "ONNX Runtime cannot load"),
    "other labels": (_more_labels, "does not fit its"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_file_that_seqcls_would_not_write_is_refused(exported: Path, tmp_path: Path, fault: str) -> None:
    change, message = HOSTILE[fault]
    path = _rewrite(exported, tmp_path / "model.onnx", change)
    with pytest.raises(CheckpointError, match=message):
        OnnxClassifier.from_pretrained(path).predict(["superb"])


def test_a_damaged_file_is_refused_or_answers(exported: Path, tmp_path: Path) -> None:
    whole, path, rng = exported.read_bytes(), tmp_path / "model.onnx", np.random.default_rng(0)
    refused = 0
    for number in range(60):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[rng.integers(len(damaged)) :]
        else:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            OnnxClassifier.from_pretrained(path).predict(["superb"])
        except CheckpointError as error:
            refused += str(path) in str(error)
    assert refused >= 30  # every file that was cut off


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        OnnxClassifier.from_pretrained(tmp_path / "none.onnx")
    with pytest.raises(CheckpointError, match="there is no file"):
        OnnxClassifier.from_pretrained(tmp_path)


def test_batches_to_check_are_of_many_lengths_and_paddings(run: Path) -> None:
    classifier, rng = Classifier.from_pretrained(run, device="cpu"), np.random.default_rng(0)
    found = [onnx_export._random_batch(rng, classifier) for _ in range(200)]
    assert {int(length) for _, lengths in found for length in lengths} >= set(range(1, 31))
    assert {inputs.shape[1] - lengths.max() for inputs, lengths in found} == set(range(9))
    assert {len(lengths) for _, lengths in found} == set(range(1, 9))


def _run(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["seqcls", *arguments])
    code = 0
    try:
        main()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--min-confidence", "0.7"], ["--json", "--min-confidence", "0.7"]])
def test_predict_prints_the_same_of_either(
    run: Path, exported: Path, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["superb film", "awful room", "", "完全に"]
    found = [_run(["predict", str(model), *texts, *arguments], capsys, monkeypatch) for model in (run, exported)]
    assert found[0] == found[1]
    assert found[0][0] == 0
    assert found[0][1].count("\n") == len(texts)


def test_export_says_what_was_done(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = _run(["export", str(run), "--int8"], capsys, monkeypatch)
    assert code == 0
    assert "Same as PyTorch in 200 batches" in out
    assert "In 8 bits the accuracy was not measured: the model was trained on splits" in out
    assert "Model: run.onnx (" in out
    code, out, _ = _run(["export", str(run), "-o", "other.onnx", "--json"], capsys, monkeypatch)
    values = json.loads(out)
    assert (code, values["onnx"], values["bytes"]) == (0, "other.onnx", Path("other.onnx").stat().st_size)
    assert values["largest_difference"] < 1e-5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["export", "RUN", "-o", "MODEL"], 2, "exists; choose another --output"),
        (["export", "RUN", "-o", "model.bin"], 2, "another ending than .onnx"),
        (["predict", "none.onnx", "good"], 1, "there is no file none.onnx"),
        (["predict", "MODEL", "good", "--device", "cuda"], 2, "computed on the CPU"),
        (["evaluate", "MODEL"], 1, "of an ONNX file, `seqcls predict`"),
        (["explain", "MODEL", "good"], 1, "of an ONNX file, `seqcls predict`"),
    ],
)
def test_what_the_command_line_cannot_do_is_told(
    run: Path,
    exported: Path,
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [{"RUN": str(run), "MODEL": str(exported)}.get(argument, argument) for argument in arguments]
    found = _run(given, capsys, monkeypatch)
    assert found[0] == code
    assert "Traceback" not in found[2]
    assert message in found[2].splitlines()[-1]
    assert found[2].splitlines()[-1].startswith("error: ")
