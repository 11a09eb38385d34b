"""Takes the picture of the page in guides/serving.md: python docs/screenshot.py URL, of a running `seqcls serve`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

TEXT = "The first half was dull and slow, but the ending is excellent and the acting superb. I loved it!"


def main(url: str) -> None:
    """Type a text and wait for its explanation."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 640})
        page.goto(url)
        page.locator("#text").fill(TEXT)
        page.wait_for_selector("#answer:not(.old) #why .token")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#history li")
        page.screenshot(path=Path(__file__).parent / "assets" / "serving.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
