from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from report_runs import train_run
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Splits, Trainer
from seqcls.errors import CheckpointError, DataError, MissingExtraError

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")


from seqcls.apps.report import write as report_module
from seqcls.apps.report.collect import collect
from seqcls.apps.report.write import require_extra, write_report

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Parsed(HTMLParser):
    """The text, the attributes and the table rows of a page; parsing fails if tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.rows and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def headings(self) -> str:
        return " ".join(value for tag, attributes in self.tags if (value := attributes.get("id")) and tag == "h2")


def parse(path: Path) -> Parsed:
    return Parsed(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(tmp_path_factory.mktemp("report") / "run", toy_splits())


@pytest.fixture(scope="module")
def page(run: Path) -> Parsed:
    return parse(write_report(run, data=toy_splits()))


# The page


def test_the_page_shows_the_figures_that_evaluate_prints(run: Path, page: Parsed) -> None:
    assessment = Classifier.from_pretrained(run).predictions(toy_splits()).assess()
    rows = {row[0]: row for row in page.rows if len(row) == 6 and row[0] in assessment.labels}
    for name, score in assessment.labels.items():
        shown = [float(cell.split()[0]) for cell in rows[name][1:4]]
        assert shown == pytest.approx([100 * score.precision, 100 * score.recall, 100 * score.f1], abs=0.05)
        assert rows[name][5] == str(score.support)
    matrix = [[int(cell.split()[0]) for cell in row[1:]] for row in page.rows if len(row) == 3 and row[0] in rows][:2]
    assert matrix == assessment.confusion
    assert f"{100 * assessment.score.accuracy:.1f}%" in page.text
    assert f"On test, {assessment.score.count} examples" in page.text


def test_the_page_has_every_part(page: Parsed) -> None:
    assert page.headings() == "figures training labels confidence where mistakes data settings cost"
    for heading in ("ROC", "Precision and recall", "Calibration", "Accuracy by length, in tokens", "unknown tokens"):
        assert heading in page.text
    shown = page.text.replace(" ", "")
    assert "embedding_size8" in shown
    assert "patiencenone(auto)" in shown
    assert torch.__version__ in page.text


def test_a_monitored_macro_f1_has_a_curve(tmp_path: Path) -> None:
    result = Trainer(toy_splits(), config=toy_config(monitor="f1"), callbacks=[], output=tmp_path / "run").fit()
    shown = parse(write_report(tmp_path / "run", data=toy_splits()))
    assert "Macro F1 by epoch" in shown.text
    rows = [row for row in shown.rows if len(row) == 4 and row[0] in ("1", "2")]
    assert [row[1] for row in rows[:2]] == [f"{100 * row.validation.figure('f1'):.1f}" for row in result.history]


def test_the_curves_are_those_of_the_log(run: Path, page: Parsed) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shown = [row for row in page.rows if len(row) == 5 and row[0] in ("1", "2")]
    assert [row[1:3] for row in shown[:2]] == [
        [f"{row[split]['loss']:.4f}" for split in ("train", "validation")] for row in rows
    ]
    assert [row[1:3] for row in shown[2:]] == [
        [f"{100 * row[split]['accuracy']:.1f}" for split in ("train", "validation")] for row in rows
    ]


def test_the_page_needs_no_network_and_no_script(run: Path, page: Parsed) -> None:
    source = (run / "report.html").read_text(encoding="utf-8")
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name.endswith(("href", "src"))]
    assert links
    assert all(str(link).startswith("#") for link in links)
    assert set(re.findall(r"url\((.)", source)) <= {"#"}
    assert "@import" not in source
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    policy = next(attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_ids_on_the_page_are_unique_and_references_to_them_resolve(page: Parsed) -> None:
    names = [value for _, attributes in page.tags if (value := attributes.get("id"))]
    assert len(set(names)) == len(names)
    wanted = [attributes[name] for _, attributes in page.tags for name in ("aria-labelledby",) if name in attributes]
    wanted += [str(attributes["href"])[1:] for _, attributes in page.tags if "href" in attributes]
    assert set(wanted) <= set(names)


def test_every_plot_has_a_label_and_its_numbers_in_a_table(page: Parsed) -> None:
    plots = [attributes for tag, attributes in page.tags if tag == "svg" and "aria-hidden" not in attributes]
    assert len(plots) == 7
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)
    assert page.text.count(": the numbers") == len(plots)


HOSTILE = ["<script>alert(1)</script>", "</style><b onload=x>", "\"quoted' & $x^{", "_\x01 東京 <!--"]


def test_hostile_labels_and_texts_stay_text(tmp_path: Path) -> None:
    labels = [HOSTILE[number % 4] for number in range(52)]
    pairs = [(f"{label} w{number} \ud800 </svg> {HOSTILE[number % 3]}", label) for number, label in enumerate(labels)]
    wrong = [(text, HOSTILE[(HOSTILE.index(label) + 1) % 4]) for text, label in pairs]
    splits = Splits.from_pairs(pairs, validation=wrong, test=wrong)
    parsed = parse(write_report(train_run(tmp_path / "run", splits), data=splits))
    tags = [tag for tag, _ in parsed.tags]
    assert "script" not in tags
    assert tags.count("style") == 1
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    for label in HOSTILE:
        assert label in parsed.text


@pytest.mark.parametrize(
    ("name", "there", "absent"),
    [
        ("several", ["true positives", "Each pair of an example and a label counts"], ["Rows are true labels"]),
        ("numbers", ["Accuracy by length, in steps", "the steps"], ["unknown tokens", "seqcls check"]),
        ("many", ["The most frequent confusions", "class 49", "The labels with the smallest areas"], []),
    ],
)
def test_kinds_of_data(name: str, there: list[str], absent: list[str], report_pages: dict[str, Path]) -> None:
    parsed = parse(report_pages[name])
    for text in there:
        assert text in parsed.text
    for text in absent:
        assert text not in parsed.text


def test_without_a_test_split_validation_is_shown_and_the_page_says_so(tmp_path: Path) -> None:
    splits = Splits.from_pairs(toy_pairs(64), validation=toy_pairs(16, seed=1))
    parsed = parse(write_report(train_run(tmp_path / "run", splits), data=splits))
    assert "On validation, 16 examples" in parsed.text
    assert "no test split" in parsed.text
    with pytest.raises(DataError, match="no test split; it has train, validation"):
        write_report(tmp_path / "run", data=splits, split="test")


@pytest.mark.parametrize("count", [1, 12])
def test_a_split_of_one_example_or_of_one_label_has_a_report(count: int, run: Path, tmp_path: Path) -> None:
    pairs = [pair for pair in toy_pairs(40, seed=3) if pair[1] == "good"][:count]
    data = Splits.from_pairs(toy_pairs(64), test=pairs)
    parsed = parse(write_report(run, tmp_path / "page.html", data=data))
    assert f"On test, {count} examples" in parsed.text
    assert "ROC:" not in parsed.text  # nothing is to be told apart
    assert next(row for row in parsed.rows if row[0] == "bad" and len(row) == 6)[4:] == ["–", "0"]


def test_a_loss_that_is_not_finite_is_shown_and_spoils_no_plot(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    log = tmp_path / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    rows[0]["train"]["loss"], rows[1]["train"]["loss"] = float("inf"), float("nan")
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    parsed = parse(write_report(tmp_path / "run", data=toy_splits()))
    assert [row[1] for row in parsed.rows if len(row) == 5 and row[0] in ("1", "2")][:2] == ["inf", "nan"]


def test_a_model_without_mistakes_has_a_report(run: Path, tmp_path: Path) -> None:
    pairs = toy_pairs(200)
    predicted = Classifier.from_pretrained(run).predict([text for text, _ in pairs])
    right = [pair for pair, label in zip(pairs, predicted, strict=True) if pair[1] == label]
    parsed = parse(write_report(run, tmp_path / "page.html", data=Splits.from_pairs(toy_pairs(64), test=right)))
    assert "There are none." in parsed.text


def test_without_the_data_the_page_shows_what_the_run_knows(run: Path, tmp_path: Path) -> None:
    parsed = parse(write_report(run, tmp_path / "bare.html"))  # its splits were objects
    assert "The data set cannot be read" in parsed.text
    assert "the run was given its splits as objects" in parsed.text
    assert parsed.headings() == "notes figures training settings cost"
    assert "accuracy on test" in parsed.text


def test_data_that_have_changed_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"

    def write(rename: Any) -> None:
        lines = [f"{text},{rename(label)}" for text, label in toy_pairs(80)]
        path.write_text("\n".join(["text,label", *lines]), encoding="utf-8")

    write(str)
    run = train_run(tmp_path / "run", str(path))
    assert "On validation, 8 examples" in parse(write_report(run)).text
    write(str.upper)
    parsed = parse(write_report(run))
    assert "cannot be evaluated on the data set as it is now" in parsed.text
    assert "data have changed" in parsed.text
    with pytest.raises(DataError, match="GOOD"):
        write_report(run, data=str(path))
    path.unlink()
    parsed = parse(write_report(run))
    assert "The data set cannot be read" in parsed.text
    assert "data.csv" in parsed.text


def test_a_model_directory_has_a_report_without_curves(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    path = write_report(tmp_path / "model", data=toy_splits())
    assert path == tmp_path / "model" / "report.html"
    parsed = parse(path)
    assert "This is a model directory" in parsed.text
    assert "training" not in parsed.headings()
    assert "On test, 20 examples" in parsed.text
    assert Classifier.from_pretrained(tmp_path / "model").predict(["superb film"])  # and the directory is still whole


def test_an_interrupted_run_has_a_report_of_what_there_is(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "model")
    parsed = parse(write_report(tmp_path / "half", data=toy_splits()))
    assert "those of its best checkpoint so far" in parsed.text
    (tmp_path / "half" / "metrics.jsonl").unlink()
    parsed = parse(write_report(tmp_path / "half", data=toy_splits()))
    assert "those of its initial weights" in parsed.text
    assert "training" not in parsed.headings()


def test_a_large_split_is_judged_by_a_sample(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqcls.apps.report.answers.MAX_EXAMPLES", 7)
    subject = collect(run, data=toy_splits(), options={}, split=None, device="cpu", encoder=None, loaded=None)
    answers = subject.data.answers
    assert answers is not None
    assert (answers.total, len(answers.predictions.labels), len(answers.lengths)) == (20, 7, 7)
    assert any("7 of the 20 examples of test" in note for note in subject.notes)
    texts = [text for text, _ in toy_pairs(20, seed=2)]
    for mistake in answers.mistakes:
        assert mistake.explanation.text == texts[mistake.number - 1]


def test_lengths_and_unknown_words_are_those_of_whole_texts(tmp_path: Path) -> None:
    train = toy_pairs(64)
    test = [("superb film " * 10 + "never-seen", "good"), ("", "bad")]
    splits = Splits.from_pairs(train, validation=train[:16], test=test)
    folder = train_run(tmp_path / "run", splits, data={"max_length": 3, "tokenizer": "word"})
    answers = collect(folder, data=splits, options={}, split=None, device="cpu", encoder=None, loaded=None).data.answers
    assert answers is not None
    assert answers.unknown_rates is not None
    assert answers.lengths[0] > 20
    assert answers.lengths[1] == 1
    assert 0 < answers.unknown_rates[0] < 0.2
    assert answers.unknown_rates[1] == 1


# The file


def test_the_file_is_written_whole_or_not_at_all(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "page.html"
    old.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(DataError, match=r"cannot write .*page\.html: No space left on device"):
        write_report(run, old, data=toy_splits())
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_an_output_that_cannot_be_written_is_refused_before_any_work(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its folder does not exist"):
        write_report(run, tmp_path / "no" / "page.html")
    with pytest.raises(DataError, match="it is a folder"):
        write_report(run, tmp_path)


def test_a_path_that_is_not_a_run_or_is_damaged_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a model directory"):
        write_report(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:1: epoch: Field required"):
        write_report(tmp_path / "run", data=toy_splits())


@pytest.mark.parametrize(
    ("module", "package"), [("jinja2", "jinja2"), ("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")]
)
def test_a_missing_package_is_named_with_the_extra(module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; run: pip install 'seqcls\[report\]'"):
        require_extra()


def test_a_model_that_is_fitted_without_steps_has_a_report(tmp_path: Path) -> None:
    Trainer(toy_splits(), encoder="linear", device="cpu", callbacks=[], output=tmp_path / "run").fit()
    parsed = parse(write_report(tmp_path / "run", data=toy_splits()))
    assert "linear" in parsed.text
