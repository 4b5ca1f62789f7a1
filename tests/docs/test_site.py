"""The documentation site builds without warnings, every page is in the navigation, and no link is dead."""

import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

REPOSITORY = Path(__file__).parents[2]
MKDOCS = Path(sys.executable).parent / "mkdocs"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [MKDOCS, "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            if name == "id" and value:
                self.anchors.add(value)


@pytest.mark.slow
def test_no_link_is_dead(site):
    pages = {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    assert len(pages) > 15
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if target.is_dir():
                target /= "index.html"
            assert target.exists(), f"{file.relative_to(site)}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors | {"__nav", "__search"}, f"{file}: {link}"


@pytest.mark.slow
def test_the_references_have_every_flag_and_field(site):
    from clipgpt_retrieval.back import serve
    from clipgpt_retrieval.back.schema import KnnRequest
    from clipgpt_retrieval.cli import commands

    http = (site / "reference" / "http" / "index.html").read_text(encoding="utf-8")
    assert all(field in http for field in KnnRequest.model_fields)
    command_line = (site / "reference" / "command_line" / "index.html").read_text(encoding="utf-8")
    for command in commands().values():
        assert f'id="{command.__module__}.{command.__name__}"' in command_line, command.__name__
        if command is not serve:  # its flags are those of BackOptions, by reference
            assert all(flag in command_line for flag in inspect.signature(command).parameters)


def test_links_to_files_exist():
    for page in (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (REPOSITORY / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_navigation():
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (REPOSITORY / "docs").rglob("*.md"):
        assert f" {page.relative_to(REPOSITORY / 'docs')}\n" in navigation, f"mkdocs.yml lacks {page.name} under nav:"
