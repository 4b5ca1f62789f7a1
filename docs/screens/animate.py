"""Records the animation of the README from a running demo: a text query, its best image, and a change of that image.

clipgpt-retrieval demo &
python docs/screens/animate.py http://127.0.0.1:1234
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FILE = Path(__file__).parent / "demo.webp"
SIZE = (960, 600)
TEXT, CHANGE = "a dog on the beach", "but at night"
QUICK, SLOW = 120, 2200
"""Duration of a frame, in milliseconds."""


def main(url: str) -> None:
    frames: list[tuple[Image.Image, int]] = []
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(url)
        page.locator("#clipgpt").wait_for()
        type_text(page, TEXT, frames)
        search(page)
        page.get_by_text("Caption these").click()
        page.locator(".ours:visible").first.wait_for()
        shoot(page, frames, SLOW)
        page.locator("#query-text").fill("")
        type_text(page, CHANGE, frames)
        mark_results(page)
        page.locator(".results .open").first.click()
        page.locator(".detail .tools").get_by_role("button", name="Add to the query").click()
        wait_for_results(page)
        shoot(page, frames, SLOW + SLOW)
        browser.close()
    images, durations = zip(*frames, strict=True)
    images[0].save(FILE, save_all=True, append_images=images[1:], duration=list(durations), loop=0, quality=70)


def type_text(page: Page, text: str, frames: list[tuple[Image.Image, int]]) -> None:
    """Two letters per frame."""
    for end in range(2, len(text) + 2, 2):
        page.locator("#query-text").fill(text[:end])
        shoot(page, frames, QUICK)


def search(page: Page) -> None:
    """Presses Enter and waits for the results."""
    mark_results(page)
    page.locator("#query-text").press("Enter")
    wait_for_results(page)


def mark_results(page: Page) -> None:
    """Marks the results as old."""
    page.evaluate("document.querySelectorAll('.results .tile').forEach((tile) => tile.setAttribute('data-old', ''))")


def wait_for_results(page: Page) -> None:
    """Waits until the page shows other results than before."""
    page.wait_for_function(
        "() => { const tiles = [...document.querySelectorAll('.results .tile')];"
        " return tiles.length > 0 && tiles.every((tile) => !('old' in tile.dataset)); }"
    )
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(400)


def shoot(page: Page, frames: list[tuple[Image.Image, int]], milliseconds: int) -> None:
    """Adds a frame of the page."""
    frames.append((Image.open(io.BytesIO(page.screenshot())).convert("RGB"), milliseconds))


if __name__ == "__main__":
    main(sys.argv[1])
