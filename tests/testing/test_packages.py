"""Packages of plugins, built, installed in an environment of their own, and used from the command line."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from scratch import ROOT, Environment

SMALL = ["--epochs", "1", "--quiet", "--device", "cpu", "--no-baseline", "--no-report"]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def _install_metadata(
    environment: Environment, name: str, code: str, *, group: str = "encoders", entry: str | None = None
) -> None:
    """Install a distribution by its metadata alone, as pip would leave it."""
    (packages,) = environment.folder.glob("venv/lib/python*/site-packages")
    module = f"{name.replace('-', '_')}_module"
    (packages / f"{module}.py").write_text(code)
    info = packages / f"{name.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\nSummary: About {name}\n")
    (info / "entry_points.txt").write_text(f"[seqcls.{group}]\n{entry or name} = {module}:Plugin\n")


GOOD = """
from seqcls import Encoder, Pool
class Plugin(Encoder):
    '''A good one.'''
    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.pool = Pool(input_size, "mean")
        self.output_size = input_size
    def forward(self, x, lengths):
        return self.pool(x, lengths)
"""


def test_the_example_package_works_from_the_command_line_and_its_tests_pass(environment: Environment) -> None:
    package = shutil.copytree(ROOT / "examples" / "seqcls-mean-max", environment.folder / "package")
    environment.install(package)
    own_tests = environment.pytest(package)
    assert own_tests.returncode == 0, own_tests.stdout

    listed = environment.seqcls("list").stdout
    assert "mean-max " in listed
    assert "tab-separated  seqcls-mean-max 0.1.0" in listed
    assert "hidden_size" in environment.seqcls("info", "encoder", "mean-max").stdout

    lines = [f"{('spam', 'ham')[n % 2]}\t{('Win a prize', 'See you at')[n % 2]} number {n}" for n in range(60)]
    (environment.folder / "messages.tsv").write_text("\n".join(lines))
    data = ["--dataset", "tab-separated", "--dataset-option", "path=messages.tsv", "--batch-size", "8", "--epochs", "20"]
    fitted = environment.seqcls(
        "fit", "--encoder", "mean-max", *data, *SMALL, "--epochs", "20", "--batch-size", "8", "--output", "run", "--json"
    )
    assert fitted.returncode == 0, fitted.stderr
    assert json.loads(fitted.stdout)["validation"]["accuracy"] == 1
    predicted = environment.seqcls("predict", "run", "Win a big prize")
    assert predicted.stdout.startswith("spam\t")

    missing = environment.seqcls("predict", "run", "Win", SEQCLS_NO_PLUGINS="1")
    assert missing.returncode == 1
    assert "needs the encoder 'mean-max': install the package that provides it: pip install seqcls-mean-max==0.1.0" in (
        missing.stderr
    )
    assert "mean-max" not in environment.seqcls("list", SEQCLS_NO_PLUGINS="1").stdout


def test_the_example_of_a_tracker_is_found_by_its_name_and_follows_a_run(environment: Environment) -> None:
    package = shutil.copytree(ROOT / "examples" / "seqcls-csv-tracker", environment.folder / "package")
    environment.install(package)
    own_tests = environment.pytest(package)
    assert own_tests.returncode == 0, own_tests.stdout

    assert "csv-tracker  seqcls-csv-tracker 0.1.0" in environment.seqcls("list").stdout
    data = ["--dataset-option", "train_size=100", "--encoder", "mean-pool"]
    tracked = ["--batch-size", "64", "--callback", "csv-tracker", "--callback-option", "csv-tracker.path=mine.csv"]
    fitted = environment.seqcls("fit", *data, *SMALL, *tracked, "--output", "run")
    assert fitted.returncode == 0, fitted.stderr
    resumed = environment.seqcls("fit", "--resume", "run", "--epochs", "2", "--quiet", "--no-report")
    assert resumed.returncode == 0, resumed.stderr
    _, *rows = (environment.folder / "mine.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows] == [["run", "mean-pool", "2"], ["run", "mean-pool", "4"]]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("encoder", "my-encoder"),
        pytest.param("dataset", "weather2", marks=pytest.mark.slow),
        pytest.param("callback", "my-tracker", marks=pytest.mark.slow),
    ],
)
def test_a_new_package_works_as_it_is_written(environment: Environment, kind: str, name: str) -> None:
    written = environment.seqcls("new", kind, name)
    assert written.stdout == f"seqcls-{name}\n"
    package = environment.folder / f"seqcls-{name}"
    assert f"pip install -e 'seqcls-{name}[dev]'" in written.stderr
    own_tests = environment.pytest(package)
    assert own_tests.returncode == 0, own_tests.stdout
    environment.install(package)
    assert f"{name} " in environment.seqcls("list").stdout
    sizes = ["--dataset-option", "train_size=100"] if kind != "dataset" else []
    fitted = environment.seqcls("fit", f"--{kind}", name, *sizes, *SMALL, "--output", "run")
    assert fitted.returncode == 0, fitted.stderr
    again = environment.seqcls("new", kind, name)
    assert again.returncode == 2
    assert f"seqcls-{name} exists" in again.stderr


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("encoder", "lstm", "the encoder 'lstm' of seqcls itself would always win"),
        ("encoder", "bilstm", "'bilstm' of seqcls itself"),
        ("dataset", "My_Data", "lower-case letters, digits and hyphens, such as my-dataset"),
        ("encoder", "../up", "not a plugin name"),
        ("model", "x", "'encoder', 'dataset', 'callback'"),
    ],
)
def test_a_name_that_cannot_be_is_refused(environment: Environment, kind: str, name: str, message: str) -> None:
    done = environment.seqcls("new", kind, name)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(environment.folder.glob("seqcls-*"))


def test_bad_plugins_leave_everything_else_working_and_a_check_names_them(environment: Environment) -> None:
    _install_metadata(environment, "no-import", "import no_such_module")
    _install_metadata(environment, "leaves", "raise SystemExit(3)")
    _install_metadata(environment, "slow", f"import time\ntime.sleep(20)\n{GOOD}")
    _install_metadata(environment, "twice", GOOD)
    _install_metadata(environment, "twice-too", GOOD, entry="twice")
    _install_metadata(environment, "takes-a-name", GOOD, entry="lstm")
    _install_metadata(environment, "good", GOOD)

    started = time.monotonic()
    assert environment.seqcls("--help").returncode == 0
    listed = environment.seqcls("list")
    assert time.monotonic() - started < 10
    assert listed.returncode == 0
    for line in (
        r"no-import +no-import 1\.5 +About no-import",
        r"twice +twice 1\.5 +twice 1\.5 and twice-too 1\.5 both provide it",
        r"lstm +takes-a-name 1\.5 +not used",
    ):
        assert any(re.search(line, row) for row in listed.stdout.splitlines()), line
    small = ["--dataset-option", "train_size=100", *SMALL]
    assert environment.seqcls("fit", "--encoder", "lstm", *small, "--output", "two").returncode == 0
    for name, message in {
        "leaves": "of leaves 1.5) cannot be imported: SystemExit: 3",
        "twice": "twice 1.5 and twice-too 1.5 both provide it",
    }.items():
        done = environment.seqcls("fit", "--encoder", name, *small)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_check_imports_each_plugin_and_names_what_is_wrong_and_where(environment: Environment) -> None:
    _install_metadata(environment, "no-import", "import no_such_module")
    _install_metadata(environment, "leaves", "raise SystemExit(3)")
    _install_metadata(environment, "reads-padding", GOOD.replace("self.pool(x, lengths)", "x.mean(dim=1)"))
    _install_metadata(
        environment,
        "exits",
        "from seqcls import Dataset\nclass Plugin(Dataset):\n    def load(self): raise SystemExit",
        group="datasets",
    )
    _install_metadata(environment, "good", GOOD)
    done = environment.seqcls("list", "--check", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    problems = {info["name"]: info["problem"] for kind in found.values() for info in kind if info["problem"]}
    assert set(problems) == {"no-import", "leaves", "reads-padding", "exits"}
    assert "no-import 1.5) cannot be imported: ModuleNotFoundError" in problems["no-import"]
    assert "breaks the law 'padding changes nothing'" in problems["reads-padding"]
    assert problems["exits"].startswith("SystemExit")
    assert "checking the encoder good of good 1.5" in done.stderr


@pytest.mark.slow
def test_a_check_without_bad_plugins_passes(environment: Environment) -> None:
    done = environment.seqcls("list", "--check")
    assert done.returncode == 0, done.stdout
    assert "checking the encoder bilstm-mean-pool of seqcls" in done.stderr
    assert not Path(environment.folder, "home").exists()  # nothing was downloaded or prepared
