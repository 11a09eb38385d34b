from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from toy import toy_config, toy_splits

from seqcls import Trainer
from seqcls.training.callbacks import console as reporting
from seqcls.training.callbacks.console import ConsoleReporter, format_seconds


@pytest.fixture
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "SECONDS_BETWEEN_UPDATES", 0.0)
    monkeypatch.setattr(reporting, "SECONDS_BETWEEN_LINES", 0.0)


def _shown(tmp_path: Path, *, terminal: bool, width: int = 80) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width)
    reporter = ConsoleReporter(console)
    Trainer(None, toy_splits(), config=toy_config(), callbacks=[reporter], output=tmp_path / "run").fit()
    return stream.getvalue()


@pytest.mark.usefixtures("_every_step")
def test_off_a_terminal_there_are_plain_lines_only(tmp_path: Path) -> None:
    shown = _shown(tmp_path, terminal=False)
    assert "\x1b" not in shown
    assert "\r" not in shown
    chosen, *lines = shown.splitlines()
    assert chosen == "Chosen to fit the data: patience none, eval_every_steps none"
    assert lines[0].split() == ["epoch", "step", "loss", "acc.", "val.", "loss", "val.", "acc.", "ex./s", "time"]
    assert len([line for line in lines if re.match(r"step \d+/16  loss \d\.\d{3}  acc\. +\d", line)]) == 16
    rows = [line for line in lines if re.match(r" +[12] +(8|16) ", line)]
    assert len(rows) == 2
    assert rows[0].endswith(" *")
    assert all(len(line) <= 80 for line in lines)


def test_the_macro_f1_is_shown_where_it_is_monitored(tmp_path: Path) -> None:
    stream = io.StringIO()
    reporter = ConsoleReporter(Console(file=stream, force_terminal=False, width=80))
    config = toy_config(monitor="f1")
    result = Trainer(None, toy_splits(), config=config, callbacks=[reporter], output=tmp_path / "run").fit()
    _, header, *rows = stream.getvalue().splitlines()
    assert header.split()[-4:] == ["ex./s", "time", "val.", "F1"]
    assert [row.rstrip(" *").split()[-1] for row in rows] == [
        f"{100 * evaluation.validation.figure('f1'):.1f}%" for evaluation in result.history
    ]
    assert all(len(row) <= 80 for row in rows)


@pytest.mark.usefixtures("_every_step")
@pytest.mark.parametrize("width", [40, 80, 200])
def test_on_a_terminal_there_is_a_bar_within_its_width_and_gone_at_the_end(tmp_path: Path, width: int) -> None:
    shown = _shown(tmp_path, terminal=True, width=width)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    bars = [line for line in re.split(r"[\r\n]+", plain) if "━" in line or "/16" in line]
    assert any("16/16" in line for line in bars) or width < 80
    assert all(len(line) <= width for line in bars)
    assert shown.endswith("\x1b[2K") or "\x1b[?25h" in shown  # the line is erased, the cursor is back


def test_lines_are_rare_where_nobody_watches(tmp_path: Path) -> None:
    assert "step " not in _shown(tmp_path, terminal=False).replace(" step ", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1:00"),
        (245, "4:05"),
        (3599.6, "1:00:00"),
        (3723, "1:02:03"),
    ],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_closing_twice_or_before_the_start_does_no_harm() -> None:
    reporter = ConsoleReporter(Console(file=io.StringIO()))
    reporter.close()
    reporter.close()
