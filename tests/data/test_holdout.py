from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seqcls.data.holdout import choose_held_out
from seqcls.errors import DataError


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=40, max_size=80), st.integers(0, 3))
def test_held_out_texts_have_each_label_at_most_in_its_share(rows: list[tuple[bool, ...]], seed: int) -> None:
    labels = np.array(rows, dtype=np.uint8)
    try:
        held_out = choose_held_out(labels, groups=None, fraction=0.2, seed=seed)
    except DataError:
        return  # every label is so rare that none may be held out
    for column in (*labels.T, ~labels.any(axis=1)):
        assert column[held_out].astype(bool).sum() <= np.round(0.2 * column.astype(bool).sum())
