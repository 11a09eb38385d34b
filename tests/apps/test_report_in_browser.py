from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")


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
def test_the_page_is_clean_in_chromium(
    name: str, width: int, scheme: str, report_pages: dict[str, Path], browser: Any
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page, messages = context.new_page(), []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(report_pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    bad = [item for item in axe.run(page).response["violations"] if item["impact"] in ("serious", "critical")]
    assert [(item["id"], item["nodes"][0]["html"]) for item in bad] == []
    assert messages == []
    context.close()


def test_the_plots_have_the_colours_of_the_scheme(report_pages: dict[str, Path], browser: Any) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(report_pages["two"].as_uri())
        colours[scheme] = page.evaluate(
            "[getComputedStyle(document.querySelector('figure > svg text')).fill,"
            " getComputedStyle(document.querySelector('figure > svg path[style*=series-1]')).stroke]"
        )
        page.close()
    assert colours["light"][0] == "rgb(31, 35, 40)"
    assert colours["dark"][0] == "rgb(230, 237, 243)"
    assert colours["light"][1] != colours["dark"][1]


def test_the_page_is_used_by_keyboard(report_pages: dict[str, Path], browser: Any) -> None:
    page = browser.new_page()
    page.goto(report_pages["two"].as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.locator("figure summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("figure details").first.evaluate("part => part.open")
    page.close()
