from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from seqcls.apps.serving.batcher import Batcher, BusyError


class Gate:
    """Lengths of texts, given when the gate is open; remembers what was asked for at once."""

    def __init__(self) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, model: str, texts: list[str]) -> list[int]:
        self.asked.append((model, texts))
        self.entered.set()
        assert self.open.wait(10)
        if "wrong" in texts:
            raise ValueError(texts)
        return [len(text) for text in texts]


def test_what_waits_is_answered_together_and_each_gets_its_own() -> None:
    gate = Gate()
    batcher = Batcher(gate, capacity=100, at_once=8)
    futures = [batcher.submit("one", ["first"])]
    assert gate.entered.wait(10)
    futures += [batcher.submit(("one", "two")[number % 2], ["x" * number, "y"]) for number in range(3)]
    assert batcher.waiting == 6
    gate.open.set()
    assert [future.result(10) for future in futures] == [[5], [0, 1], [1, 1], [2, 1]]
    assert gate.asked[1:] == [("one", ["", "y", "xx", "y"]), ("two", ["x", "y"])]
    batcher.close()


def test_a_batch_has_no_more_than_fits_but_a_large_job_is_one_of_its_own() -> None:
    gate, sizes = Gate(), []
    batcher = Batcher(gate, capacity=100, at_once=4, observe=sizes.append)
    batcher.submit("m", ["first"])
    assert gate.entered.wait(10)
    futures = [batcher.submit("m", ["x"] * size) for size in (3, 2, 9, 1)]
    gate.open.set()
    assert [len(future.result(10)) for future in futures] == [3, 2, 9, 1]
    batcher.close()
    assert sizes == [1, 3, 2, 9, 1]


def test_a_full_queue_takes_no_more_and_what_it_holds_is_answered() -> None:
    gate = Gate()
    batcher = Batcher(gate, capacity=3, at_once=8)
    first = batcher.submit("m", ["first"])
    assert gate.entered.wait(10)
    second = batcher.submit("m", ["a", "b"])
    with pytest.raises(BusyError):
        batcher.submit("m", ["c", "d"])
    third = batcher.submit("m", ["c"])
    gate.open.set()
    assert [len(future.result(10)) for future in (first, second, third)] == [1, 2, 1]
    batcher.close()
    with pytest.raises(BusyError):
        batcher.submit("m", ["late"])


def test_what_was_cancelled_while_it_waited_is_not_computed() -> None:
    gate = Gate()
    batcher = Batcher(gate, capacity=100, at_once=8)
    batcher.submit("m", ["first"])
    assert gate.entered.wait(10)
    left, stays = batcher.submit("m", ["left"]), batcher.submit("m", ["stays"])
    assert left.cancel()
    gate.open.set()
    assert stays.result(10) == [5]
    batcher.close()
    assert ["left"] not in [texts for _, texts in gate.asked]
    assert batcher.waiting == 0


def test_a_request_that_fails_fails_alone() -> None:
    gate = Gate()
    batcher = Batcher(gate, capacity=100, at_once=8)
    batcher.submit("m", ["first"])
    assert gate.entered.wait(10)
    good, wrong, fine = (batcher.submit("m", [text]) for text in ("good", "wrong", "fine"))
    gate.open.set()
    assert (good.result(10), fine.result(10)) == ([4], [4])
    with pytest.raises(ValueError, match="wrong"):
        wrong.result(10)
    batcher.close()


def test_closing_answers_what_is_queued() -> None:
    def slow(model: str, texts: list[str]) -> list[str]:
        time.sleep(0.01)
        return texts

    batcher = Batcher(slow, capacity=100, at_once=1, linger=5.0)
    futures = [batcher.submit("m", [str(number)]) for number in range(10)]
    batcher.close()
    assert [future.result(0) for future in futures] == [[str(number)] for number in range(10)]
