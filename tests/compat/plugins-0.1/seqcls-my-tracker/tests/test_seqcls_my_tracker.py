import json
from pathlib import Path

from seqcls_my_tracker import MyTracker

from seqcls import Splits, Trainer


def test_each_evaluation_is_a_line(tmp_path: Path) -> None:
    splits = Splits.from_pairs([("a fine film", "good"), ("a dull film", "bad")] * 30)
    path = tmp_path / "lines.jsonl"
    Trainer("mean-pool", splits, callbacks=[MyTracker(path=str(path))], output=tmp_path / "run").fit()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
