"""Takes the screenshots of docs/front.md from a running back end.

clipgpt-retrieval demo &
python docs/screens/take.py http://127.0.0.1:1234 "two giraffes next to a fence in the park" "but at night" 1736
"""

import io
import shutil
import sys
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
DESKTOP, PHONE = (1280, 800), (390, 844)

VIEWS = ("start", "search", "compare", "chips", "explore", "detail")
SHOTS = [
    *((view, DESKTOP, "light", view) for view in VIEWS),
    *((view, PHONE, "light", f"{view}-phone") for view in ("search", "compare", "explore", "detail")),
    ("search", DESKTOP, "dark", "search-dark"),
]
SHOWN = ".tile:visible, .point:visible, .clusters img:visible"


def main(url: str, query: str, change: str, item: str) -> None:
    addresses = {
        "start": {},
        "search": {"query": query, "encoder": "clip-gpt", "captioned": "true"},
        "compare": {"query": query, "view": "compare"},
        "chips": {"query": change, "chip": [f"item:{item}", "bar"]},
        "explore": {"query": query, "view": "explore"},
        "detail": {"query": query, "item": item},
    }
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for view, (width, height), scheme, name in SHOTS:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(f"{url}/?{urlencode(addresses[view], doseq=True)}")
            page.locator(SHOWN).first.wait_for()
            if "captioned" in addresses[view]:
                page.locator(".ours:visible").first.wait_for()
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(500)
            Image.open(io.BytesIO(page.screenshot())).save(HERE / f"{name}.webp", quality=80, method=6)
            page.close()
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
