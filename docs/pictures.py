"""Takes the pictures of the guides, with chromium.

python docs/pictures.py report REPORT.html, of a run; python docs/pictures.py serving URL, of a running `seqcls serve`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ASSETS = Path(__file__).parent / "assets"
TEXT = "The first half was dull and slow, but the ending is excellent and the acting superb. I loved it!"


def report(browser: Any, path: str) -> None:
    """Write the pictures of the page "The report"."""
    url = Path(path).resolve().as_uri()
    page = browser.new_page(viewport={"width": 1180, "height": 1200}, color_scheme="light")
    page.goto(url)
    page.screenshot(path=ASSETS / "report.png", clip={"x": 0, "y": 0, "width": 1180, "height": 1000})
    page.locator("article").first.screenshot(path=ASSETS / "report-mistake.png")
    page = browser.new_page(viewport={"width": 390, "height": 1200}, color_scheme="dark")
    page.goto(url)
    page.screenshot(path=ASSETS / "report-phone.png", clip={"x": 0, "y": 0, "width": 390, "height": 1150})


def serving(browser: Any, url: str) -> None:
    """Type a text, wait for its explanation, and write the picture of the page "Serve a model"."""
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    page.goto(url)
    page.locator("#text").fill(TEXT)
    page.wait_for_selector("#answer:not(.old) #why .token")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#history li")
    page.screenshot(path=ASSETS / "serving.png")


if __name__ == "__main__":
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        {"report": report, "serving": serving}[sys.argv[1]](chromium, sys.argv[2])
        chromium.close()
