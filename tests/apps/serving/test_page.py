"""The page in Chromium: typing, keyboard, narrow and dark screens, errors, hostile texts, and axe-core's rules."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)


XSS = [
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    "<svg><script>window.hit=1</script></svg>",
    "<body onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<iframe src=javascript:parent.hit=1>",
    "<a href=javascript:window.hit=1>click</a>",
    "<input autofocus onfocus=window.hit=1>",
    "<details open ontoggle=window.hit=1>",
    "<video><source onerror=window.hit=1></video>",
    "<style>@import 'x';</style><b style=animation-name:x onanimationstart=window.hit=1>",
    "</textarea><script>window.hit=1</script>",
    "</p></div></body><script>window.hit=1</script>",
    '"><script>window.hit=1</script>',
    "' onmouseover='window.hit=1",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1>",
    "<noscript><p title='</noscript><img src=x onerror=window.hit=1>'>",
    "&lt;script&gt;window.hit=1&lt;/script&gt;<script>window.hit=1</script>",
    "javascript:/*--></title></style></textarea></script><svg/onload='+/\"/+/onmouseover=1/+/[*/[]/+window.hit=1//'>",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        # Chromium's own sandbox does not work for root, as in containers.
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complains of, such as a breach of the content security policy."""
    return []


@pytest.fixture(params=[{}])
def page(browser: Any, address: str, complaints: list[str], request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page; a complaint that is left fails the test."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **request.param})
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#model option", state="attached")
    yield page
    context.close()
    assert complaints == []


def wait_for_answer(page: Any) -> None:
    page.wait_for_selector("#why .token")
    page.wait_for_selector("#answer:not(.old)")


def test_the_answer_follows_as_one_types(page: Any) -> None:
    assert page.locator("#empty").is_visible()
    page.keyboard.type("the film was superb 😀 really")  # the field has the focus from the start
    wait_for_answer(page)
    assert page.locator("#label").inner_text() == "good"
    assert re.fullmatch(r"\d+\.\d\s%", page.locator("#confidence").inner_text())
    assert page.locator("#probabilities li").count() == 2
    assert page.locator("#why").inner_text() == "the film was superb 😀 really"
    superb = page.locator("#why .token", has_text="superb")
    assert re.fullmatch(r"\+\d+\.\d\d for good", superb.get_attribute("title") or "")
    assert "for" in (superb.get_attribute("class") or "").split()
    page.locator("#text").fill("the film was awful")
    expect(page.locator("#label")).to_have_text("bad")


def test_examples_models_and_history(page: Any) -> None:
    page.get_by_role("button", name="A superb film").click()
    wait_for_answer(page)
    page.wait_for_selector("#history li")  # after a pause
    page.locator("#text").fill("an awful film")
    page.keyboard.press("Control+Enter")  # at once
    expect(page.locator("#history li")).to_have_count(2)
    assert "an awful film" in page.locator("#history li").first.inner_text()
    page.locator("#history button", has_text="A superb film").click()
    assert page.locator("#text").input_value() == "A superb film"
    page.locator("#model").select_option("other")
    wait_for_answer(page)
    assert page.locator("#about").inner_text().startswith("other: lstm, ")
    page.get_by_role("button", name="Forget all").click()
    assert page.locator("#history li").count() == 0


def test_the_keyboard_alone_reaches_everything(page: Any) -> None:
    page.keyboard.type("superb")
    wait_for_answer(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#history li")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
    assert reached[:3] == ["clear", "A superb film", "forget"]
    assert reached[3].startswith("good ")
    page.locator("#text").focus()
    page.keyboard.press("Escape")
    assert page.locator("#text").input_value() == ""
    assert page.locator("#empty").is_visible()


SCREENS = [
    {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    for width in (390, 1280)
    for scheme in ("light", "dark")
]


@pytest.mark.parametrize(
    "page", SCREENS, indirect=True, ids=lambda screen: f"{screen['viewport']['width']}-{screen['color_scheme']}"
)
def test_every_screen_fits_and_passes_axe(page: Any) -> None:
    script = Path(pytest.importorskip("axe_playwright_python").__file__).parent / "axe.min.js"
    page.keyboard.type("superb film, awful room, and a word " + "x" * 300)
    wait_for_answer(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#history li")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    is_dark = sum(map(int, re.findall(r"\d+", background)[:3])) < 300
    assert is_dark == page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    # The policy allows no script but the page's own, so that axe comes through the debugger.
    page.evaluate(script.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [violation["id"] for violation in found["violations"]] == []
    assert len(found["passes"]) > 20


def test_a_hostile_text_is_text(page: Any) -> None:
    for number, text in enumerate(XSS, start=1):
        page.locator("#text").fill(text)
        page.wait_for_function("text => document.getElementById('why').textContent === text", arg=text)
        page.keyboard.press("Control+Enter")
        expect(page.locator("#history li")).to_have_count(number)
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.querySelectorAll('script').length") == 1
        assert page.locator("#why *:not(span), #history :not(li, button, strong, span)").count() == 0


def test_what_goes_wrong_is_said_and_can_be_tried_again(page: Any, complaints: list[str]) -> None:
    page.route("**/v1/predict", lambda route: route.fulfill(status=503, json={"detail": "Too much waits."}))
    page.keyboard.type("superb")
    page.wait_for_selector("#problem")
    assert page.locator("#problem-text").inner_text() == "Too much waits."
    assert not page.locator("#answer").is_visible()
    page.unroute("**/v1/predict")
    page.route("**/v1/predict", lambda route: route.abort())
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#problem-text")).to_contain_text("The server cannot be reached")
    page.unroute("**/v1/predict")
    page.get_by_role("button", name="Try again").click()
    wait_for_answer(page)
    assert not page.locator("#problem").is_visible()
    page.locator("#text").fill("x" * 100_001)
    page.wait_for_selector("#problem")
    assert "at most 100000 characters" in page.locator("#problem-text").inner_text()
    assert all(complaint.startswith("Failed to load resource") for complaint in complaints)
    complaints.clear()


def test_a_text_of_another_language_and_half_a_character_is_answered(page: Any) -> None:
    page.evaluate(
        "text => { const field = document.getElementById('text'); field.value = text;"
        " field.dispatchEvent(new Event('input')); }",
        "\ud83d superb фильм 映画",
    )
    wait_for_answer(page)
    assert page.locator("#label").inner_text() == "good"
