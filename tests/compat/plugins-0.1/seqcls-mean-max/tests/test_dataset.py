from pathlib import Path

import pytest
from seqcls_mean_max.dataset import TabSeparated

from seqcls.errors import DataError
from seqcls.testing import check_dataset


def test_the_data_set_keeps_its_contract(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("spam\tWin\r\nham\tSee you\tat nine\n\n")
    (tmp_path / "test.tsv").write_text("ham\tHello\n")
    dataset = TabSeparated(path=str(tmp_path / "train.tsv"), test_path=str(tmp_path / "test.tsv"))
    check_dataset(dataset)
    splits = dataset.load()
    assert list(splits.train) == [("Win", 1), ("See you\tat nine", 0)]
    assert splits.label_names == ("ham", "spam")


def test_a_line_without_a_tab_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("spam\tWin\nham See you\n")
    with pytest.raises(DataError, match=r"train\.tsv, line 2: no tab in 'ham See you'"):
        TabSeparated(path=str(tmp_path / "train.tsv")).load()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"cannot read nowhere\.tsv"):
        TabSeparated(path="nowhere.tsv").load()
