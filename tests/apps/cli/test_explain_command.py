from __future__ import annotations

import json
import re
from pathlib import Path

from commands import Run


def test_explain_shows_the_words_that_count(run: Run, trained: Path) -> None:
    shown = run("explain", str(trained), "The film was good.").out.splitlines()
    assert re.fullmatch(r"(negative|positive) \d+\.\d%", shown[0])
    assert shown[1] == "The film was good."
    assert shown[2].startswith("For:     ")
    assert shown[3].startswith("Against: ")
    found = json.loads(
        run("explain", str(trained), "The film", "--method", "occlusion", "--label", "negative", "--json").out
    )
    assert [token["token"] for token in found["tokens"]] == ["The", "film"]
    assert (found["label"], found["gap"]) == ("negative", None)
    assert run("explain", str(trained), "good", "--label", "great").code == 1
    assert run("explain", str(trained), "good", "--method", "magic").code == 2
    assert run("explain", str(trained)).code == 2
