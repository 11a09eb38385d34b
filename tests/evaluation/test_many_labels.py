"""With many labels, figures come from parts of tables, and nothing grows with the square of the number of labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import random_predictions
from work import CountingName, LargestTensor, peak_memory

from seqcls.apps.report.figures import worst
from seqcls.evaluation.calibration import calibrate, calibration_error, fit_temperature
from seqcls.evaluation.differences import check_same_examples
from seqcls.evaluation.predictions import Predictions
from seqcls.evaluation.scores import choose_thresholds, score_logits

LABELS, EXAMPLES = 5_000, 60


def figures(predictions: Predictions) -> list[object]:
    logits, labels = predictions.tensors()
    return [
        predictions.assess(min_confidence=0.5).as_dict(),
        [column.tolist() for column in predictions.label_counts],
        predictions.is_correct.tolist(),
        list(predictions.rows()),
        worst(predictions, 20).tolist(),
        score_logits(logits, labels).as_dict(),
        fit_temperature(logits, labels),
        choose_thresholds(logits, labels).tolist() if labels.ndim == 2 else None,
    ]


def flat(values: object) -> list[object]:
    if isinstance(values, dict):
        values = list(values.items())
    return [leaf for value in values for leaf in flat(value)] if isinstance(values, list | tuple) else [values]


@pytest.mark.parametrize("cells", [1, 30, 100])
@pytest.mark.parametrize("is_multi_label", [False, True])
def test_figures_do_not_depend_on_how_tables_are_divided(
    cells: int, is_multi_label: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions = random_predictions(1, 45, 7, is_multi_label=is_multi_label)
    whole = flat(figures(predictions))
    monkeypatch.setattr("seqcls.evaluation.chunks.CELLS", cells)
    in_parts = flat(figures(replace(predictions)))
    assert len(in_parts) == len(whole)
    for value, expected in zip(in_parts, whole, strict=True):
        assert value == (pytest.approx(expected, rel=1e-9) if isinstance(expected, float) else expected)


def test_logits_in_float32_give_the_figures_of_float64() -> None:
    predictions = random_predictions(2, 60, 5)
    single = predictions.logits.astype(np.float32)
    assert replace(predictions, logits=single).assess() == replace(predictions, logits=single.astype(np.float64)).assess()


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_parts_of_tables_are_parts_of_the_tables(is_multi_label: bool) -> None:
    predictions = random_predictions(4, 30, 6, is_multi_label=is_multi_label)
    rows, columns = slice(3, 9), slice(2, 5)
    np.testing.assert_array_equal(predictions.probabilities_of(rows, columns), predictions.probabilities[rows, columns])
    np.testing.assert_array_equal(predictions.predicted_of(rows), predictions.predicted[rows])
    np.testing.assert_array_equal(predictions.true_of(rows), predictions.true[rows])
    np.testing.assert_array_equal(predictions.has_label(2), predictions.true[:, 2])
    for index in range(30):
        for names, table in zip(predictions.names_of(index), (predictions.true, predictions.predicted), strict=True):
            assert names == tuple(np.array(predictions.label_names)[table[index]])


def test_the_confusion_matrix_of_many_labels_is_left_out_and_its_largest_cells_are_kept() -> None:
    predictions = random_predictions(0, 300, 201)
    assessment = predictions.assess()
    values = assessment.as_dict()
    assert values["confusion"] is None
    matrix = np.array(assessment.confusion)
    assert matrix.sum() == 300
    index_of = {name: index for index, name in enumerate(predictions.label_names)}
    for row in values["confusions"]:
        assert matrix[index_of[row["label"]], index_of[row["prediction"]]] == row["count"]
    assert sum(row["count"] for row in values["confusions"]) == 300 - assessment.correct
    assert values["confusions"][0]["count"] == (matrix * (1 - np.eye(201, dtype=int))).max()
    assert random_predictions(0, 300, 200).assess().as_dict()["confusion"] is not None


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_no_table_of_labels_by_labels_is_made(is_multi_label: bool) -> None:
    names = tuple(CountingName(f"label {number}") for number in range(LABELS))
    predictions = replace(random_predictions(0, EXAMPLES, LABELS, is_multi_label=is_multi_label), label_names=names)
    logits, labels = predictions.tensors()
    CountingName.comparisons = 0
    with peak_memory() as peak, LargestTensor() as largest:
        predictions.assess().as_dict()
        worst(predictions, 10)
        calibrate(logits, labels)
        check_same_examples(predictions, replace(predictions))
        check_same_examples(predictions, replace(predictions, label_names=tuple(map(str, names))))
        if is_multi_label:
            choose_thresholds(logits, labels)
    table = EXAMPLES * LABELS
    assert largest.numel <= 3 * table  # the bins of calibration take three numbers of each probability
    assert peak() < 8 * 8 * table < LABELS**2
    assert CountingName.comparisons < 10 * LABELS


def test_scores_of_many_labels_are_those_of_single_examples() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(500, 3000, generator=generator), torch.randint(3000, (500,), generator=generator)
    losses = [float(torch.logsumexp(row.double(), 0) - row[label]) for row, label in zip(logits, labels, strict=True)]
    assert score_logits(logits, labels).loss == pytest.approx(np.mean(losses), rel=1e-9)
    scaled = calibration_error(logits.double() / 1.7, labels)
    assert calibration_error(logits, labels, temperature=1.7) == pytest.approx(scaled, rel=1e-12)
