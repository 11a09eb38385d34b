from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("httpx")

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Splits, Trainer, load_recipe
from seqcls.apps.serving.app import create_app
from seqcls.errors import MissingExtraError

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    with httpx.Client(base_url=address, timeout=30) as found:
        yield found


@pytest.fixture
def classifier(model: Path) -> Classifier:
    return Classifier.from_pretrained(model, device="cpu")


@contextlib.asynccontextmanager
async def running(*classifiers: Classifier, **limits: Any) -> AsyncIterator[Any]:
    """The application in this process, and a client of it."""
    app = create_app({f"m{number}": each for number, each in enumerate(classifiers)}, **limits)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as found:
            found.app = app
            yield found


def check_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    found: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail"} <= set(found)
    assert found["status"] == status
    assert not re.search(r"Traceback|File \"|/\w+/\w+\.py|site-packages|/tmp", answer.text)
    return found


def test_one_text_or_many_get_what_the_classifier_says(client: Any, classifier: Classifier) -> None:
    texts = [text for text, _ in toy_pairs(64, seed=5)]
    found = client.post("/v1/predict", json={"texts": texts}).json()
    assert found["model"] == "toy"
    probabilities = classifier.predict_proba(texts)
    assert [row["label"] for row in found["predictions"]] == classifier.predict(texts)
    for row, expected in zip(found["predictions"], probabilities, strict=True):
        assert list(row) == ["label", "confidence", "probabilities", "unknown"]
        assert list(row["probabilities"]) == list(classifier.label_names)
        np.testing.assert_allclose(list(row["probabilities"].values()), expected, atol=1e-6)
        assert row["confidence"] == max(row["probabilities"].values())
    (alone,) = client.post("/v1/predict", json={"texts": texts[0], "model": "other"}).json()["predictions"]
    assert alone["label"] == found["predictions"][0]["label"]


def test_an_explanation_is_that_of_the_classifier(client: Any, classifier: Classifier) -> None:
    texts = ["the film was superb 😀", "an awful meal"]
    rows = client.post("/v1/predict", json={"texts": texts, "explain": True}).json()["predictions"]
    for text, row in zip(texts, rows, strict=True):
        expected = classifier.explain(text).as_dict()
        assert [token["token"] for token in row["explanation"]["tokens"]] == [item["token"] for item in expected["tokens"]]
        for found, item in zip(row["explanation"]["tokens"], expected["tokens"], strict=True):
            assert text[found["start"] : found["end"]] == found["token"]
            assert found["contribution"] == pytest.approx(item["contribution"], abs=1e-5)


def test_below_the_least_confidence_there_is_no_label(client: Any) -> None:
    (row,) = client.post("/v1/predict", json={"texts": "superb", "min_confidence": 1}).json()["predictions"]
    assert row["label"] is None
    assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_texts_without_a_known_word_are_told(client: Any) -> None:
    rows = client.post("/v1/predict", json={"texts": ["", "xyzzy", "superb", "superb xyzzy"]}).json()["predictions"]
    assert [row["unknown"] for row in rows] == [1, 1, 0, 0.5]


@pytest.mark.parametrize(
    "encoder", ["mean-pool", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lstm", "gru", "cnn", "transformer"))]
)
def test_batched_answers_are_those_of_single_texts(encoder: str, tmp_path: Path) -> None:
    config = load_recipe("default", encoder=encoder).updated({"fit": {"epochs": 1, "batch_size": 8}}, source="test")
    Trainer(None, toy_splits(16), config=config, output=tmp_path / "run").fit()
    classifier = Classifier.from_pretrained(tmp_path / "run", device="cpu")
    texts = [text for text, _ in toy_pairs(40, seed=9)] + ["", "superb " * 300]

    async def ask() -> tuple[list[Any], str]:
        async with running(classifier) as client:
            answers = await asyncio.gather(*(client.post("/v1/predict", json={"texts": text}) for text in texts))
            return [answer.json()["predictions"][0] for answer in answers], (await client.get("/metrics")).text

    rows, metrics = asyncio.run(ask())
    for text, row in zip(texts, rows, strict=True):
        alone = classifier.predict_proba([text])[0]
        np.testing.assert_allclose(list(row["probabilities"].values()), alone, rtol=0, atol=1e-6)
    batches = re.search(r'^seqcls_batch_texts_count\{queue="predict"\} (\S+)$', metrics, re.MULTILINE)
    assert batches is not None
    assert float(batches[1]) < len(texts) / 2, "nothing was batched"


def test_a_text_may_have_several_labels(tmp_path: Path) -> None:
    pairs = [(text, [label, "any"] if number % 3 else [label]) for number, (text, label) in enumerate(toy_pairs(64))]
    Trainer(None, Splits.from_pairs(pairs, validation=pairs), config=toy_config(), output=tmp_path / "run").fit()
    classifier = Classifier.from_pretrained(tmp_path / "run", device="cpu")

    async def ask() -> Any:
        async with running(classifier) as client:
            answer = await client.post("/v1/predict", json={"texts": ["superb", "awful"], "explain": True})
            return answer.json()["predictions"]

    rows = asyncio.run(ask())
    assert [tuple(row["labels"]) for row in rows] == classifier.predict(["superb", "awful"])
    assert all("label" not in row for row in rows)


def test_models_are_described_and_nothing_tells_where_they_lie(client: Any, model: Path) -> None:
    answer = client.get("/v1/models")
    assert [found["name"] for found in answer.json()["models"]] == ["toy", "other"]
    first = answer.json()["models"][0]
    assert first["labels"] == ["bad", "good"]
    assert first["examples"] == ["A superb film"]
    assert str(model.parent) not in answer.text


BODIES: list[tuple[bytes, int, str]] = [
    (b"{", 400, "not JSON"),
    (b"", 400, "not JSON"),
    (b'{"texts": ["\xff\xfe"]}', 400, "UTF-8"),
    (b"[" * 100_000, 400, "not JSON"),
    (b"[]", 422, "body"),
    (b"{}", 422, "texts: Field required"),
    (b'{"texts": []}', 422, "texts: List should have at least 1 item"),
    (b'{"texts": [1]}', 422, "texts[0]: Input should be a valid string"),
    (b'{"texts": null}', 422, "texts"),
    (b'{"texts": "a", "explain": "yes"}', 422, "explain"),
    (b'{"texts": "a", "min_confidence": 1.5}', 422, "min_confidence"),
    (b'{"texts": "a", "min_confidence": NaN}', 422, "min_confidence"),
    (b'{"texts": "a", "text": "b"}', 422, "text: Extra inputs are not permitted"),
    (json.dumps({"texts": ["a"] * 65}).encode(), 422, "at most 64 items"),
    (json.dumps({"texts": "x" * 1_000_000}).encode(), 422, "at most 100000 characters"),
    (json.dumps({"texts": "x" * 1_100_000}).encode(), 413, "larger than 1,048,576 bytes"),
    (b'{"texts": "a", "model": "toi"}', 404, "No such model: 'toi'; the models are toy, other."),
    (b'{"texts": "a", "model": "../../etc/passwd"}', 404, "the models are toy, other"),
    (b'{"\\ud800": 1, "texts": "a"}', 400, "not JSON"),
]


@pytest.mark.parametrize(("body", "status", "message"), BODIES, ids=[body[:40].decode("latin-1") for body, _, _ in BODIES])
def test_what_cannot_be_used_is_refused_with_a_reason(client: Any, body: bytes, status: int, message: str) -> None:
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert message in check_problem(answer, status)["detail"]


def test_a_body_is_counted_while_it_comes(client: Any) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"texts": "'
        for _ in range(40):
            yield b"x" * 65_536

    answer = client.post("/v1/predict", content=chunks(), headers={"Content-Type": "application/json"})
    check_problem(answer, 413)
    assert client.get("/live").status_code == 200


def test_only_json_is_taken_and_only_where_it_belongs(client: Any) -> None:
    check_problem(client.post("/v1/predict", content=b'{"texts": "a"}', headers={"Content-Type": "text/plain"}), 415)
    check_problem(client.get("/v1/predict"), 405)
    check_problem(client.delete("/v1/models"), 405)
    check_problem(client.get("/docs"), 404)
    check_problem(client.get("/../../etc/passwd"), 404)
    assert client.get("/v1/predict").headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST:99", 200), ("127.0.0.1", 200), ("[::1]:8000", 200)]
    + [(host, 421) for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "localhost:80:80", "")],
)
def test_only_allowed_hosts_are_answered(client: Any, host: str, status: int) -> None:
    for path in ("/", "/live", "/v1/models"):
        assert client.get(path, headers={"Host": host}).status_code == status


def test_every_answer_has_the_headers_that_protect_a_browser(client: Any) -> None:
    for path in ("/", "/app.js", "/v1/models", "/nothing", "/metrics"):
        headers = client.get(path).headers
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_metrics_count_requests_batches_and_queues(client: Any) -> None:
    client.post("/v1/predict", json={"texts": ["a"] * 3})
    client.get("/no/such/page")
    text = client.get("/metrics").text
    for line in (
        r'seqcls_requests_total\{path="/v1/predict",status="200"\} [1-9]',
        r'seqcls_requests_total\{path="other",status="404"\} [1-9]',
        r'seqcls_request_seconds_count\{path="/v1/predict"\} [1-9]',
        r'seqcls_batch_texts_bucket\{le="4.0",queue="predict"\} [1-9]',
        r'seqcls_queue_texts\{queue="explain"\} 0.0',
    ):
        assert re.search(f"^{line}", text, re.MULTILINE), line
    assert "no/such" not in text


def test_the_server_is_ready_if_every_model_predicts(client: Any) -> None:
    assert client.get("/live").json() == {"status": "live"}
    assert client.get("/ready").json() == {"status": "ready"}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda text: json.dumps({"texts": text}).encode())))
def test_no_body_makes_the_server_fail(client: Any, body: bytes) -> None:
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code < 500


class Stuck:
    """Holds predictions until it is told to go on."""

    def __init__(self, classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.asked = threading.Event(), []
        usual: Callable[..., Any] = classifier.predict_proba

        def wait(texts: Any) -> Any:
            self.asked.append(len(texts))
            assert self.go.wait(20)
            return usual(texts)

        monkeypatch.setattr(classifier, "predict_proba", wait)


async def until(happens: Callable[[], bool]) -> None:
    for _ in range(1000):
        if happens():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


def test_a_full_queue_is_503_and_the_rest_is_answered(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck(classifier, monkeypatch)

    async def ask() -> None:
        async with running(classifier, capacity=64) as client:
            first = asyncio.create_task(client.post("/v1/predict", json={"texts": "a"}))
            await until(lambda: bool(stuck.asked))
            full = asyncio.create_task(client.post("/v1/predict", json={"texts": ["b"] * 64}))
            await asyncio.sleep(0.05)
            refused = await client.post("/v1/predict", json={"texts": "c"})
            check_problem(refused, 503)
            assert refused.headers["retry-after"] == "1"
            check_problem(await client.get("/ready"), 503)
            assert (await client.get("/live")).status_code == 200
            stuck.go.set()
            assert [(await task).status_code for task in (first, full)] == [200, 200]

    asyncio.run(ask())


def test_explanations_have_a_queue_of_their_own_and_labels_do_not_wait_for_them(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, entered, usual = threading.Event(), threading.Event(), classifier.explain

    def wait(text: str) -> Any:
        entered.set()
        assert go.wait(20)
        return usual(text)

    monkeypatch.setattr(classifier, "explain", wait)

    async def ask() -> None:
        async with running(classifier, seconds=60) as client:
            first = asyncio.create_task(client.post("/v1/predict", json={"texts": "a", "explain": True}))
            await until(entered.is_set)
            refused = await client.post("/v1/predict", json={"texts": ["b"] * 65, "explain": True})
            check_problem(refused, 422)
            full = asyncio.create_task(client.post("/v1/predict", json={"texts": ["b"] * 60, "explain": True}))
            metrics = ""
            while 'seqcls_queue_texts{queue="explain"} 60.0' not in metrics:
                metrics = (await client.get("/metrics")).text
            check_problem(await client.post("/v1/predict", json={"texts": ["c"] * 5, "explain": True}), 503)
            assert (await client.post("/v1/predict", json={"texts": "d"})).status_code == 200
            go.set()
            assert [(await task).status_code for task in (first, full)] == [200, 200]

    asyncio.run(ask())


def test_what_takes_too_long_is_504_and_is_not_computed_later(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(classifier, monkeypatch)

    async def ask() -> None:
        async with running(classifier, seconds=0.3) as client:
            first = asyncio.create_task(client.post("/v1/predict", json={"texts": "a"}))
            await until(lambda: bool(stuck.asked))
            check_problem(await client.post("/v1/predict", json={"texts": ["b"] * 5}), 504)
            check_problem(await first, 504)
            stuck.go.set()
            assert (await client.post("/v1/predict", json={"texts": ["c"] * 2})).status_code == 200

    asyncio.run(ask())
    assert stuck.asked == [1, 2]


def test_a_failure_is_500_logged_and_tells_nothing(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(texts: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(classifier, "predict_proba", fail)

    async def ask() -> Any:
        async with running(classifier) as client:
            return await client.post("/v1/predict", json={"texts": "a"})

    answer = asyncio.run(ask())
    check_problem(answer, 500)
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def _call(classifier: Classifier, receive: Callable[[], Awaitable[Any]], **limits: Any) -> list[Any]:
    """Call the application as a server does, with messages of one's own."""
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"", "http_version": "1.1"}
    scope |= {"headers": [(b"host", b"localhost"), (b"content-type", b"application/json")], "raw_path": b"/v1/predict"}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def call() -> None:
        async with running(classifier, **limits) as client:
            await client.app(dict(scope), receive, send)
            sent.append((await client.get("/metrics")).text)

    asyncio.run(call())
    return sent


def test_a_body_that_does_not_arrive_is_408(classifier: Classifier) -> None:
    parts = iter([b'{"texts"'])

    async def receive() -> Any:
        part = next(parts, None)
        if part is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": True}

    start, body, _ = _call(classifier, receive, seconds=0.2)
    assert start["status"] == json.loads(body["body"])["status"] == 408


def test_what_its_client_has_left_is_not_computed(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck(classifier, monkeypatch)
    messages = iter([{"type": "http.request", "body": b'{"texts": "a"}', "more_body": False}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        message = next(messages)
        if message["type"] == "http.disconnect":
            await until(lambda: bool(stuck.asked))
            stuck.go.set()
        return message

    (metrics,) = _call(classifier, receive)
    assert re.search(r'^seqcls_requests_total\{path="/v1/predict",status="499"\} 1.0', metrics, re.MULTILINE)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_without_the_extra_it_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "seqcls.apps.serving.app")
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; run: pip install 'seqcls\[serve\]'"):
        importlib.import_module("seqcls.apps.serving.app")
