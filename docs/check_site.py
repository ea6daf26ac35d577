"""Check a built site: links and anchors inside it lead somewhere, and no page loads anything from the network.

    python docs/check_site.py build/site

Prints what is wrong, and exits with 1 if anything is. It opens no connection: addresses on the web are not visited.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "img": "src",
    "script": "src",
    "iframe": "src",
    "source": "src",
    "link": "href",
    "video": "src",
    "audio": "src",
}
"""Tags whose address a browser loads with the page, and the attribute that holds it."""

_CSS_ADDRESS = re.compile(r"""(?:url\(|@import\s+)\s*["']?((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """The anchors of a page, its links, and the addresses that it loads.

    Args:
        text: the page's HTML.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)
        self.loaded += _CSS_ADDRESS.findall(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag defines, links to, and loads."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given and given.get("rel") != "canonical":
            self.loaded.append(given[LOADED[tag]])


@cache
def page_of(file: Path) -> Page:
    """Return a page, parsed once."""
    return Page(file.read_text(encoding="utf-8"))


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong in a site, one line each."""
    for file in sorted(site.rglob("*.html")):
        page, name = page_of(file), file.relative_to(site).as_posix()
        for address in page.loaded:
            if _remote(address):
                yield f"{name}: loads {address}"
            elif not _exists(file, address):
                yield f"{name}: loads {address}, which is not there"
        for link in page.links:
            if not urlsplit(link).scheme and not _leads_somewhere(file, link):
                yield f"{name}: {link} leads nowhere"
    for file in sorted(site.rglob("*.css")):
        for address in _CSS_ADDRESS.findall(file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(site).as_posix()}: loads {address}"


def _remote(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https")


def _target(file: Path, address: str) -> Path:
    path = unquote(urlsplit(address).path)
    return (file.parent / path).resolve() if path else file


def _exists(file: Path, address: str) -> bool:
    return urlsplit(address).scheme == "data" or _target(file, address).exists()


def _leads_somewhere(file: Path, link: str) -> bool:
    target = _target(file, link)
    if target.suffix != ".html" or not target.is_file():
        return target.is_file()
    return unquote(urlsplit(link).fragment) in page_of(target).anchors


def main(arguments: list[str]) -> int:
    """Check the site in the folder that is named; return the exit status."""
    site = Path(arguments[0]).resolve()
    if not (site / "index.html").is_file():
        print(f"{arguments[0]}: no index.html; build the site first", file=sys.stderr)
        return 2
    found = list(faults(site))
    print("\n".join(found) if found else f"{len(list(site.rglob('*.html')))} pages: every link leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
