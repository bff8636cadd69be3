"""Checks the built site as files, and writes its llms.txt: `python tests/site_checks/check_site.py .nox/site`.

Zensical checks links between pages. This finds the rest: links to other files, missing headings, what another server would
have to deliver, pages that the navigation leaves out, and structure that a screen reader needs.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml


ROOT = Path(__file__).parents[2]
VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
LOADING = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
EMPTY_LINK_TEXTS = frozenset({"", "click here", "here", "link", "this", "this page"})


@dataclass
class Page(HTMLParser):
    """What the checks need of one page."""

    text: str
    ids: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    link_texts: list[tuple[str, str]] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    """Addresses of scripts, styles, images and frames."""
    headings: list[tuple[int, str]] = field(default_factory=list)
    """Of the article."""
    images_without_text: list[str] = field(default_factory=list)
    paragraph: str = ""
    """The first one of the article."""
    title: str = ""
    language: str = ""
    canonical: str = ""
    _open: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    _words: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, links and images, and open the element."""
        values = {name: value or "" for name, value in attrs}
        self.ids.update([values["id"]] if values.get("id") else [])
        if tag == "html":
            self.language = values.get("lang", "")
        elif tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link":
            self._link(values)
        elif tag == "img":
            self._image(values)
        if tag in LOADING and (address := values.get(LOADING[tag])):
            self.loaded.append(address)
        if tag not in VOID:
            self._open.append((tag, values))
            self._words.append([])

    def _link(self, values: Mapping[str, str]) -> None:
        address = values.get("href", "")
        if values.get("rel") == "canonical":
            self.canonical = address
        elif values.get("rel") in {"next", "prev"}:
            self.links.append(address)
        else:
            self.loaded.append(address)

    def _image(self, values: Mapping[str, str]) -> None:
        for words in self._words:
            words.append(values.get("alt", ""))
        if not values.get("alt", "").strip():
            self.images_without_text.append(values.get("src", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open the element, and end it."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        """Add the text to all elements that are open."""
        if any(
            tag in {"script", "style"} or values.get("class") == "headerlink" for tag, values in self._open
        ):
            return
        for words in self._words:
            words.append(data)

    def handle_endtag(self, tag: str) -> None:
        """End the element, and those inside it that have no end of their own."""
        while self._open:
            name, values = self._open.pop()
            self._element(name, values, " ".join("".join(self._words.pop()).split()))
            if name == tag:
                return

    def _element(self, tag: str, values: Mapping[str, str], text: str) -> None:
        in_article = any(name == "article" for name, _ in self._open)
        if tag == "title" and not self.title:
            self.title = text
        elif re.fullmatch(r"h[1-6]", tag) and in_article:
            self.headings.append((int(tag[1]), text))
        elif tag == "p" and in_article and text and not self.paragraph and self.headings:
            self.paragraph = text
        elif tag == "a" and in_article and values.get("class") != "headerlink" and "href" in values:
            self.link_texts.append((values["href"], values.get("aria-label") or values.get("title") or text))


def is_external(address: str) -> bool:
    """Whether it is on another server, or no file at all."""
    return bool(urlsplit(address).scheme or address.startswith("//"))


def navigation(entries: list[object], section: str = "") -> Iterator[tuple[str, str]]:
    """The pages of the navigation in order: section and path."""
    for entry in entries:
        if isinstance(entry, str):
            yield section, entry
        elif isinstance(entry, dict):
            for title, inside in entry.items():
                if isinstance(inside, str):
                    yield section, inside
                else:
                    yield from navigation(inside, f"{section}: {title}" if section else str(title))


def problems_of_links(name: str, page: Page, pages: Mapping[str, Page], site: Path) -> Iterator[str]:
    """Addresses that lead nowhere, or to another server what the page cannot do without."""
    for address in page.loaded:
        if is_external(address) and not address.startswith("data:"):
            yield f"loads {address} from another server: put a copy into docs/assets/"
    for address in [*page.links, *page.loaded]:
        if is_external(address):
            continue
        parts = urlsplit(address)
        path = unquote(parts.path)
        target = (site / name).parent.joinpath(path).resolve() if path else (site / name).resolve()
        if not target.is_relative_to(site.resolve()):
            yield f"the link to {address} leaves the site: it is dead where only the site is"
            continue
        if target.is_dir():
            target /= "index.html"
        if not target.is_file():
            yield f"the link to {address}: there is no such file"
            continue
        anchor = unquote(parts.fragment)
        key = target.relative_to(site.resolve()).as_posix()
        if anchor and key in pages and anchor not in pages[key].ids:
            yield f"the link to {address}: the page has no heading or id {anchor}"


def problems_of_structure(page: Page) -> Iterator[str]:
    """What screen readers and search engines need."""
    levels = [level for level, _ in page.headings]
    if levels.count(1) != 1:
        yield f"{levels.count(1)} headings of level 1: a page has one, its first line"
    for before, (level, text) in zip(levels, page.headings[1:], strict=False):
        if level > before + 1:
            yield f"the heading {text!r} jumps from level {before} to {level}: use level {before + 1}"
    if not page.paragraph:
        yield "no text below the heading: say there what the reader will have"
    if not (page.language and page.title):
        yield "no language, or no title"
    if page.canonical:
        yield f"a canonical address, and the project has none: {page.canonical}"
    yield from (
        f"the image {address} has no alt text: say what it shows, ![here](...)"
        for address in page.images_without_text
    )
    for address, text in page.link_texts:
        if text.lower() in EMPTY_LINK_TEXTS:
            yield f"the link to {address} has the text {text!r}: name the page that it leads to"
    yield from (
        f"the id {each} is there {times} times: links reach the first only"
        for each, times in page.ids.items()
        if times > 1
    )


def problems_of_style(text: str) -> Iterator[str]:
    """Fonts, images and styles of another server."""
    for address in re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)", text):
        yield f"loads {address} from another server: put a copy into docs/assets/"


def reference_ids() -> Iterator[str]:
    """The ids that the API reference needs: of public names, and of the attributes and methods of their classes."""
    import griffe  # not at the top: the tests of this file do without it

    script = runpy.run_path(str(ROOT / "docs/.scripts/api_reference.py"))
    package = griffe.load(
        script["PACKAGE"],
        search_paths=[ROOT],
        docstring_parser="google",
        extensions=griffe.Extensions(script["ApiReference"]()),
    )
    for path, each in script["public_objects"](package):
        yield path
        # Entries without members: a contract is subclassed, and the methods of a blocking class are at the async ones.
        if path.endswith("TokenStoreContract") or script["is_shown_with_its_twin"](each):
            continue
        for name, member in each.members.items() if isinstance(each, griffe.Class) else ():
            is_shown = isinstance(member, griffe.Attribute) or member.docstring is not None
            if is_shown and not name.startswith("_"):
                yield f"{path}.{name}"


def problems_of_reference(pages: Mapping[str, Page], needed: Iterable[str]) -> Iterator[str]:
    """Public names that cannot be linked to."""
    ids = {each for name, page in pages.items() if name.startswith("reference/api/") for each in page.ids}
    yield from (f"reference/api: there is no #{each}" for each in needed if each not in ids)


def sentence(text: str, longest: int = 200) -> str:
    """The first sentence of a text."""
    ends = r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+|(?<=:)\s+(?=[A-Z(])"
    first = re.split(ends, text, maxsplit=1)[0].rstrip(":")
    return first if len(first) <= longest else first[: longest - 3].rsplit(" ", 1)[0] + "..."


def llms(settings: Mapping[str, str], order: list[tuple[str, str]], pages: Mapping[str, Page]) -> str:
    """The list of pages for programs that read it for people, see https://llmstxt.org."""
    lines = [f"# {settings['site_name']}", "", f"> {settings['site_description']}."]
    section = None
    for title, path in order:
        if title != section:
            lines += ["", f"## {title}", ""]
            section = title
        page = pages[path.removesuffix(".md") + ".html"]
        heading = next(text for level, text in page.headings if level == 1)
        description = sentence(page.paragraph)
        target = path.removesuffix(".md") + ".html"
        lines.append(f"- [{heading}]({target})" + (f": {description}" if description else ""))
    return "\n".join(lines) + "\n"


def read(site: Path) -> dict[str, Page]:
    """All pages of the site, by their paths."""
    return {path.relative_to(site).as_posix(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")}


def check(site: Path, order: list[tuple[str, str]], pages: Mapping[str, Page]) -> list[str]:
    """All problems of the site, each with its page."""
    absent = [path for _, path in order if path.removesuffix(".md") + ".html" not in pages]
    if absent:  # each page has a dead link to it
        return [f"mkdocs.yml: nav has {path}, and there is no docs/{path}" for path in absent]
    found = [
        f"{name}: {problem}"
        for name, page in sorted(pages.items())
        if name != "404.html"
        for problem in [*problems_of_links(name, page, pages, site), *problems_of_structure(page)]
    ]
    found += [
        f"{path.relative_to(site)}: {problem}"
        for path in sorted(site.rglob("*.css"))
        for problem in problems_of_style(path.read_text("utf-8"))
    ]
    if "<loc>" in (site / "sitemap.xml").read_text("utf-8"):
        found.append("sitemap.xml: addresses, and the project has none: remove site_url from mkdocs.yml")
    listed = Counter(path.removesuffix(".md") + ".html" for _, path in order)
    found += [
        f"{name}: not in the navigation: add the page to nav in mkdocs.yml"
        for name in sorted(pages.keys() - listed.keys() - {"404.html"})
    ]
    found += [
        f"{name}: in the navigation {times} times: remove it from nav in mkdocs.yml"
        for name, times in listed.items()
        if times > 1
    ]
    return found


def main(site: Path) -> int:
    """Check, print the problems, and write llms.txt."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    order = [*navigation(settings["nav"])]
    pages = read(site)
    found = [*check(site, order, pages), *problems_of_reference(pages, reference_ids())]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    if found:
        return 1
    (site / "llms.txt").write_text(llms(settings, order, pages), "utf-8")
    print(f"{len(order)} pages checked")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
