from __future__ import annotations

import json
import re
import subprocess
import sys

import torch
from commands import Run


def test_list_shows_everything_and_imports_none_of_it() -> None:
    code = "import sys; sys.argv = ['seqcls', 'list']; import seqcls.__main__ as m\ntry: m.main()\nexcept SystemExit: pass\n"
    code += "print([name for name in sys.modules if name == 'torch' or name.startswith(('seqcls.model', 'seqcls.data'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in ("bilstm", "bilstm-mean-pool", "lstm", "torch-rnn", "imdb", "reviews", "seqcls 0"):
        assert name in done.stdout


def test_info_system_says_what_computes(run: Run) -> None:
    from seqcls.model.native.library import describe

    shown = run("info", "system").out
    assert f"lstm            {describe()}" in shown
    assert json.loads(run("info", "system", "--json").out)["threads"] == torch.get_num_threads()


def test_info_shows_options_with_types_and_defaults(run: Run) -> None:
    shown = run("info", "encoder", "lstm").out
    assert re.search(r"hidden_size +int ≥ 1 +128 +Size of the state", shown)
    assert re.search(r'pooling +"last" \| "mean"', shown)
    options = json.loads(run("info", "dataset", "imdb", "--json").out)["options"]
    assert [option["name"] for option in options] == ["source", "validation", "validation_fraction", "split_seed"]
