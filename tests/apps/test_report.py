from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Splits, Trainer
from seqcls.errors import CheckpointError, DataError, MissingExtraError
from seqcls.evaluation.calibration import calibration_error, reliability
from seqcls.evaluation.predictions import Predictions

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

from scipy.integrate import trapezoid

from seqcls.apps.report import write as report_module
from seqcls.apps.report.collect import collect
from seqcls.apps.report.figures import accuracy_by, confusions, label_intervals, thinned, worst
from seqcls.apps.report.write import require_extra, write_report

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Parsed(HTMLParser):
    """A page as elements: fails on tags that do not match; keeps the text, the attributes and the rows of tables."""

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


def fit(folder: Path, splits: Any, **changes: Any) -> Path:
    config = toy_config(epochs=2).updated(changes, source="test")
    return Trainer(data=splits, config=config, output=folder, callbacks=[]).fit().run


def parse(path: Path) -> Parsed:
    return Parsed(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("report") / "run", toy_splits())


@pytest.fixture(scope="module")
def page(run: Path) -> Parsed:
    return parse(write_report(run, data=toy_splits()))


def some_predictions(seed: int, count: int, classes: int, *, is_multi: bool = False) -> Predictions:
    rng = np.random.default_rng(seed)
    names = tuple(f"label {number}" for number in range(classes))
    logits = rng.normal(size=(count, classes)) * 2
    if is_multi:
        labels = (rng.random((count, classes)) < 0.4).astype(np.uint8)
        return Predictions(names, logits, labels, thresholds=tuple(rng.uniform(0.2, 0.8, classes)))
    return Predictions(names, logits, rng.integers(0, classes, count), temperature=1.5)


# The numbers


def test_the_intervals_of_a_label_are_those_of_a_bootstrap_over_examples() -> None:
    predictions = some_predictions(0, 300, 3)
    found = label_intervals(predictions)["label 1"]
    true, said = predictions.true[:, 1], predictions.said[:, 1]
    rows = np.random.default_rng(1).integers(0, 300, (5000, 300))
    hits = (true & said)[rows].sum(axis=1)
    slow = {"precision": hits / said[rows].sum(axis=1), "recall": hits / true[rows].sum(axis=1)}
    slow["f1"] = 2 * hits / (true[rows].sum(axis=1) + said[rows].sum(axis=1))
    for name, draws in slow.items():
        interval, score = getattr(found, name), predictions.assess().labels["label 1"]
        assert interval.value == pytest.approx(getattr(score, name))
        assert [interval.low, interval.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]).tolist(), abs=0.015)


@pytest.mark.parametrize("is_multi", [False, True])
def test_figures_of_labels_are_those_of_the_assessment_and_the_same_each_time(is_multi: bool) -> None:
    predictions = some_predictions(3, 12, 6, is_multi=is_multi)  # with labels that nobody has, or is given
    found, scores = label_intervals(predictions), predictions.assess().labels
    assert {name: item.f1.value for name, item in found.items()} == pytest.approx({n: s.f1 for n, s in scores.items()})
    assert all(0 <= item.f1.low <= item.f1.value <= item.f1.high <= 1 for item in found.values())  # type: ignore[operator]
    assert label_intervals(predictions) == found


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), count=st.integers(1, 60), distinct=st.integers(1, 60))
def test_groups_hold_each_example_once_and_no_value_twice(seed: int, count: int, distinct: int) -> None:
    predictions = some_predictions(seed, count, 2)
    values = np.random.default_rng(seed).integers(0, distinct, count)
    groups = accuracy_by(values, predictions)
    assert sum(group.count for group in groups) == count
    assert all(one.high < other.low for one, other in pairwise(groups))
    assert sum(group.count * group.accuracy.value for group in groups) == pytest.approx(predictions.is_right.sum())
    assert all(group.accuracy.low <= group.accuracy.value <= group.accuracy.high for group in groups)  # type: ignore[operator]


@pytest.mark.parametrize("is_multi", [False, True])
def test_the_worst_mistakes_are_those_of_which_the_model_was_surest(is_multi: bool) -> None:
    predictions = some_predictions(5, 40, 3, is_multi=is_multi)

    def surest(row: int) -> float:
        probabilities, true, said = predictions.probabilities[row], predictions.true[row], predictions.said[row]
        return max(p if s else 1 - p for p, t, s in zip(probabilities, true, said, strict=True) if s != t)

    wrong = [row for row in range(40) if not predictions.is_right[row]]
    assert worst(predictions, 5).tolist() == sorted(wrong, key=surest, reverse=True)[:5]
    assert sorted(worst(predictions, 1000)) == wrong


def test_the_commonest_confusions_are_the_largest_cells_off_the_diagonal() -> None:
    predictions = some_predictions(2, 200, 4)
    assessment = predictions.assess()
    assert assessment.confusion is not None
    names = predictions.label_names
    cells = [(t, s, assessment.confusion[i][j]) for i, t in enumerate(names) for j, s in enumerate(names) if i != j]
    found = confusions(assessment, 50)
    assert sorted(found) == sorted(cell for cell in cells if cell[2])
    assert [count for *_, count in found] == sorted((count for *_, count in found), reverse=True)


@pytest.mark.parametrize("is_multi", [False, True])
def test_the_bins_of_the_plot_give_the_calibration_error(is_multi: bool) -> None:
    predictions = some_predictions(4, 500, 3, is_multi=is_multi)
    logits, labels = torch.from_numpy(predictions.logits), torch.from_numpy(predictions.labels)
    bins = reliability(logits, labels)
    total = sum(found.count for found in bins)
    error = sum(found.count * abs(found.confidence - found.accuracy) for found in bins) / total
    assert total == (1500 if is_multi else 500)
    assert all(found.low < found.confidence <= found.high for found in bins)
    assert error == pytest.approx(calibration_error(logits, labels))


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    x = np.sort(np.random.default_rng(0).random(5000))
    few_x, few_y = thinned((x, np.sqrt(x)))
    assert len(few_x) == 200
    assert (few_x[0], few_x[-1]) == (x[0], x[-1])
    assert trapezoid(few_y, few_x) == pytest.approx(trapezoid(np.sqrt(x), x), abs=1e-3)


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
    assert "embedding_size8" in page.text.replace(" ", "")
    assert torch.__version__ in page.text


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


def test_names_on_the_page_are_unique_and_what_refers_to_them_finds_them(page: Parsed) -> None:
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
    found = parse(write_report(fit(tmp_path / "run", splits), data=splits))
    tags = [tag for tag, _ in found.tags]
    assert "script" not in tags
    assert tags.count("style") == 1
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    for label in HOSTILE:
        assert label in found.text


def multi_label(count: int = 60) -> Splits:
    labels = (["bad"], ["good", "long"], [], ["long"])
    pairs = [(f"{text} {'very ' * (number % 4)}", labels[number % 4]) for number, (text, _) in enumerate(toy_pairs(count))]
    return Splits.from_pairs(pairs, validation=pairs[:20], test=pairs[20:44])


def numbers(count: int = 40) -> Splits:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(3 + number % 5, 2)) + number % 2 for number in range(count)]
    pairs = [(sequence.astype(np.float32), "ab"[number % 2]) for number, sequence in enumerate(sequences)]
    return Splits.from_pairs(pairs, validation=pairs[:12], test=pairs)


def many_labels(count: int = 50) -> Splits:
    texts = [text for text, _ in toy_pairs(4 * count)]
    pairs = [(f"word{number % count} {text}", f"class {number % count:02}") for number, text in enumerate(texts)]
    return Splits.from_pairs(pairs, validation=pairs[:count], test=pairs)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind of data."""
    folder = tmp_path_factory.mktemp("pages")
    data = {"two": toy_splits(), "several": multi_label(), "numbers": numbers(), "many": many_labels()}
    return {name: write_report(fit(folder / name, splits), data=splits) for name, splits in data.items()}


@pytest.mark.parametrize(
    ("name", "there", "absent"),
    [
        ("several", ["has it, said", "Each pair of an example and a label counts"], ["Rows are the labels"]),
        ("numbers", ["Accuracy by length, in steps", "its steps"], ["unknown tokens", "seqcls check"]),
        ("many", ["The commonest confusions", "class 49", "The labels with the least area"], []),
    ],
)
def test_kinds_of_data(name: str, there: list[str], absent: list[str], pages: dict[str, Path]) -> None:
    found = parse(pages[name])
    for text in there:
        assert text in found.text
    for text in absent:
        assert text not in found.text


def test_without_a_test_split_validation_is_shown_and_the_page_says_so(tmp_path: Path) -> None:
    splits = Splits.from_pairs(toy_pairs(64), validation=toy_pairs(16, seed=1))
    found = parse(write_report(fit(tmp_path / "run", splits), data=splits))
    assert "On validation, 16 examples" in found.text
    assert "The data have no test split" in found.text
    with pytest.raises(DataError, match="the data has no test split; it has train, validation"):
        write_report(tmp_path / "run", data=splits, split="test")


@pytest.mark.parametrize("count", [1, 12])
def test_a_split_of_one_example_or_of_one_label_has_a_report(count: int, run: Path, tmp_path: Path) -> None:
    pairs = [pair for pair in toy_pairs(40, seed=3) if pair[1] == "good"][:count]
    data = Splits.from_pairs(toy_pairs(64), test=pairs)
    found = parse(write_report(run, tmp_path / "page.html", data=data))
    assert f"On test, {count} examples" in found.text
    assert "ROC:" not in found.text  # nothing is to be told apart
    assert next(row for row in found.rows if row[0] == "bad" and len(row) == 6)[4:] == ["–", "0"]


def test_a_loss_that_is_not_finite_is_shown_and_spoils_no_plot(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    log = tmp_path / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    rows[0]["train"]["loss"], rows[1]["train"]["loss"] = float("inf"), float("nan")
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = parse(write_report(tmp_path / "run", data=toy_splits()))
    assert [row[1] for row in found.rows if len(row) == 5 and row[0] in ("1", "2")][:2] == ["inf", "nan"]


def test_a_model_without_mistakes_has_a_report(run: Path, tmp_path: Path) -> None:
    pairs = toy_pairs(200)
    said = Classifier.from_pretrained(run).predict([text for text, _ in pairs])
    right = [pair for pair, label in zip(pairs, said, strict=True) if pair[1] == label]
    found = parse(write_report(run, tmp_path / "page.html", data=Splits.from_pairs(toy_pairs(64), test=right)))
    assert "There is none." in found.text


def test_without_the_data_the_page_shows_what_the_run_knows(run: Path, tmp_path: Path) -> None:
    found = parse(write_report(run, tmp_path / "bare.html"))  # its splits were objects
    assert "The data set cannot be read" in found.text
    assert "the run was given its splits as objects" in found.text
    assert found.headings() == "notes figures training settings cost"
    assert "accuracy on test" in found.text


def test_data_that_have_changed_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"

    def write(rename: Any) -> None:
        lines = [f"{text},{rename(label)}" for text, label in toy_pairs(80)]
        path.write_text("\n".join(["text,label", *lines]), encoding="utf-8")

    write(str)
    run = fit(tmp_path / "run", str(path))
    assert "On validation, 8 examples" in parse(write_report(run)).text
    write(str.upper)
    found = parse(write_report(run))
    assert "The model cannot be judged by the data set as it is now" in found.text
    assert "GOOD" in found.text
    with pytest.raises(DataError, match="GOOD"):
        write_report(run, data=str(path))
    path.unlink()
    found = parse(write_report(run))
    assert "The data set cannot be read" in found.text
    assert "data.csv" in found.text


def test_a_model_directory_has_a_report_without_curves(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    path = write_report(tmp_path / "model", data=toy_splits())
    assert path == tmp_path / "model" / "report.html"
    found = parse(path)
    assert "This is a model directory" in found.text
    assert "training" not in found.headings()
    assert "On test, 20 examples" in found.text
    assert Classifier.from_pretrained(tmp_path / "model").predict(["superb film"])  # and the directory is still whole


def test_an_interrupted_run_has_a_report_of_what_there_is(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "model")
    found = parse(write_report(tmp_path / "half", data=toy_splits()))
    assert "The run has not ended: the figures are those of its best checkpoint so far." in found.text
    (tmp_path / "half" / "metrics.jsonl").unlink()
    found = parse(write_report(tmp_path / "half", data=toy_splits()))
    assert "those of the weights that it began with" in found.text
    assert "training" not in found.headings()


def test_of_a_large_split_a_sample_is_judged(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqcls.apps.report.collect.MOST_EXAMPLES", 7)
    subject = collect(run, data=toy_splits(), options={}, split=None, device="cpu", encoder=None, loaded=None)
    assert subject.answers is not None
    assert (subject.answers.total, len(subject.answers.predictions.labels), len(subject.answers.lengths)) == (20, 7, 7)
    assert "Of the 20 examples of test, the model was asked about a random 7." in subject.notes
    texts = [text for text, _ in toy_pairs(20, seed=2)]
    for mistake in subject.answers.mistakes:
        assert mistake.explanation.text == texts[mistake.number - 1]


def test_lengths_and_unknown_words_are_those_of_whole_texts(tmp_path: Path) -> None:
    train = toy_pairs(64)
    test = [("superb film " * 10 + "never-seen", "good"), ("", "bad")]
    splits = Splits.from_pairs(train, validation=train[:16], test=test)
    folder = fit(tmp_path / "run", splits, data={"max_length": 3, "tokenizer": "word"})
    answers = collect(folder, data=splits, options={}, split=None, device="cpu", encoder=None, loaded=None).answers
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


def test_where_it_cannot_be_written_is_said_before_any_work(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its folder does not exist"):
        write_report(run, tmp_path / "no" / "page.html")
    with pytest.raises(DataError, match="it is a folder"):
        write_report(run, tmp_path)


def test_what_is_no_run_or_is_damaged_is_named(run: Path, tmp_path: Path) -> None:
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


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("two", 1280, "light"),
        ("two", 390, "dark"),
        pytest.param("several", 390, "light", marks=pytest.mark.slow),
        pytest.param("numbers", 1280, "dark", marks=pytest.mark.slow),
        pytest.param("many", 390, "dark", marks=pytest.mark.slow),
    ],
)
def test_the_page_is_clean_in_chromium(name: str, width: int, scheme: str, pages: dict[str, Path], browser: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page, messages = context.new_page(), []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    bad = [item for item in axe.run(page).response["violations"] if item["impact"] in ("serious", "critical")]
    assert [(item["id"], item["nodes"][0]["html"]) for item in bad] == []
    assert messages == []
    context.close()


def test_the_plots_have_the_colours_of_the_scheme(pages: dict[str, Path], browser: Any) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(pages["two"].as_uri())
        colours[scheme] = page.evaluate(
            "[getComputedStyle(document.querySelector('figure > svg text')).fill,"
            " getComputedStyle(document.querySelector('figure > svg path[style*=series-1]')).stroke]"
        )
        page.close()
    assert colours["light"][0] == "rgb(31, 35, 40)"
    assert colours["dark"][0] == "rgb(230, 237, 243)"
    assert colours["light"][1] != colours["dark"][1]


def test_the_page_is_used_by_keyboard(pages: dict[str, Path], browser: Any) -> None:
    page = browser.new_page()
    page.goto(pages["two"].as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.locator("figure summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("figure details").first.evaluate("part => part.open")
    page.close()
