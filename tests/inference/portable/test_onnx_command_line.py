"""`seqcls export`, and `seqcls predict` with an ONNX file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from seqcls.apps.cli.app import main

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


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
    printed = [_run(["predict", str(model), *texts, *arguments], capsys, monkeypatch) for model in (run, exported)]
    assert printed[0] == printed[1]
    assert printed[0][0] == 0
    assert printed[0][1].count("\n") == len(texts)


def test_export_says_what_was_done(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = _run(["export", str(run), "--int8"], capsys, monkeypatch)
    assert code == 0
    assert "200 batches" in out
    assert "not measured: the model was trained on splits" in out
    assert "Model: run.onnx (" in out
    code, out, _ = _run(["export", str(run), "-o", "other.onnx", "--json"], capsys, monkeypatch)
    values = json.loads(out)
    assert (code, values["onnx"], values["bytes"]) == (0, "other.onnx", Path("other.onnx").stat().st_size)
    assert values["largest_difference"] < 1e-5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["export", "RUN", "-o", "MODEL"], 2, "exists; choose another --output"),
        (["export", "RUN", "-o", "model.bin"], 2, "does not end in .onnx"),
        (["predict", "none.onnx", "good"], 1, "there is no file none.onnx"),
        (["predict", "MODEL", "good", "--device", "cuda"], 2, "not on cuda"),
        (["evaluate", "MODEL"], 1, "`seqcls predict`"),
        (["explain", "MODEL", "good"], 1, "`seqcls predict`"),
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
    replaced = [{"RUN": str(run), "MODEL": str(exported)}.get(argument, argument) for argument in arguments]
    exit_code, _, err = _run(replaced, capsys, monkeypatch)
    assert exit_code == code
    assert "Traceback" not in err
    assert message in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("error: ")
