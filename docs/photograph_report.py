"""Take the pictures of the page "The report": python docs/photograph_report.py REPORT.html; needs chromium."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ASSETS = Path(__file__).parent / "assets"


def photograph(report: Path) -> None:
    """Write the pictures of a report to docs/assets."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        page = _open(browser, report, width=1180, scheme="light")
        page.screenshot(path=ASSETS / "report.png", clip={"x": 0, "y": 0, "width": 1180, "height": 1000})
        page.locator("article").first.screenshot(path=ASSETS / "report-mistake.png")
        page = _open(browser, report, width=390, scheme="dark")
        page.screenshot(path=ASSETS / "report-phone.png", clip={"x": 0, "y": 0, "width": 390, "height": 1150})
        browser.close()


def _open(browser: Any, report: Path, *, width: int, scheme: str) -> Any:
    page = browser.new_page(viewport={"width": width, "height": 1200}, color_scheme=scheme)
    page.goto(report.resolve().as_uri())
    return page


if __name__ == "__main__":
    photograph(Path(sys.argv[1]))
