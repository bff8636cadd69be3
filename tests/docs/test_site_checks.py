"""What `nox -s docs` finds in a built site: each check fails with a page that has the fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.chromium import NEEDS_CHROMIUM
from site_checks.check_site import Page, check, llms, navigation, problems_of_reference, read, sentence


pytestmark = pytest.mark.may_block

PAGE = """<!doctype html>
<html lang="en"><head><title>A page</title></head>
<body><article><h1 id="top">A page</h1>
<p>The reader has one page. <a href="other.html#there">Another one</a> follows.</p>
%s
</article></body></html>
"""
ORDER = [("Start", "index.md"), ("Start", "other.md")]


def site_with(folder: Path, text: str) -> Path:
    """A site of two pages, the first of which has the text."""
    (folder / "index.html").write_text(PAGE % text)
    (folder / "other.html").write_text(PAGE.replace("Another one", "It") % '<h2 id="there">There</h2>')
    (folder / "404.html").write_text('<script src="/nothing.js"></script>')
    (folder / "sitemap.xml").write_text("<urlset></urlset>")
    (folder / "program.py").write_text("print(1)\n")
    return folder


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<a href="absent.html">A page</a>', "the link to absent.html: there is no such file"),
        ('<a href="absent.py">A program</a>', "the link to absent.py: there is no such file"),
        ('<a href="../x.py">A program</a>', "the link to ../x.py leaves the site"),
        (
            '<a href="other.html#absent">A part</a>',
            "the link to other.html#absent: the page has no heading or id absent",
        ),
        ('<a href="#absent">A part</a>', "the link to #absent: the page has no heading or id absent"),
        ('<a href="other.html">here</a>', "the link to other.html has the text 'here'"),
        ('<a href="other.html"><img src="program.py" alt=""></a>', "the link to other.html has the text ''"),
        ('<img src="program.py">', "the image program.py has no alt text: say what it shows"),
        (
            '<script src="https://x.example/a.js"></script>',
            "loads https://x.example/a.js from another server: put a copy into docs/assets/",
        ),
        ('<link rel="stylesheet" href="//x.example/a.css">', "loads //x.example/a.css from another server"),
        (
            '<link rel="canonical" href="https://x.example/">',
            "a canonical address, and the project has none: https://x.example/",
        ),
        ("<h1>Another</h1>", "2 headings of level 1: a page has one"),
        ("<h3>Deep</h3>", "the heading 'Deep' jumps from level 1 to 3: use level 2"),
        ('<p id="top">', "the id top is there 2 times"),
    ],
)
def test_a_fault_of_a_page(text: str, problem: str, tmp_path: Path) -> None:
    site = site_with(tmp_path, text)
    found = check(site, ORDER, read(site))
    assert any(each.startswith(f"index.html: {problem}") for each in found), found


def test_a_page_without_a_text(tmp_path: Path) -> None:
    site = site_with(tmp_path, "")
    (site / "other.html").write_text(re.sub("<p>.*</p>", "", PAGE % '<h2 id="there">There</h2>'))
    expected = "other.html: no text below the heading: say there what the reader will have"
    assert expected in check(site, ORDER, read(site))


def test_a_site_without_faults(tmp_path: Path) -> None:
    text = """<h2 id="a b">A</h2><h3>B<a class="headerlink" href="#a%20b">¶</a></h3><h2>C</h2>
        <a href="https://www.example.com/">Elsewhere</a> <a href="program.py">A program</a> <a href=".">Start</a>
        <a href="other.html"><img src="program.py" alt="A picture"></a>"""
    site = site_with(tmp_path, text)
    assert check(site, ORDER, read(site)) == []


def test_faults_of_the_site(tmp_path: Path) -> None:
    site = site_with(tmp_path, "")
    (site / "a.css").write_text("a { background: url('https://x.example/a.png') } b { c: url(data:x) }")
    (site / "sitemap.xml").write_text("<urlset><url><loc>https://x.example/</loc></url></urlset>")
    assert check(site, [("Start", "index.md"), ("", "index.md")], read(site)) == [
        "a.css: loads https://x.example/a.png from another server: put a copy into docs/assets/",
        "sitemap.xml: addresses, and the project has none: remove site_url from mkdocs.yml",
        "other.html: not in the navigation: add the page to nav in mkdocs.yml",
        "index.html: in the navigation 2 times: remove it from nav in mkdocs.yml",
    ]


def test_a_page_that_only_the_navigation_has(tmp_path: Path) -> None:
    """It alone is reported, and not the dead link to it on each page."""
    site = site_with(tmp_path, '<a href="more/absent.md">Next</a>')
    order = [*ORDER, ("More", "more/absent.md")]
    assert check(site, order, read(site)) == [
        "mkdocs.yml: nav has more/absent.md, and there is no docs/more/absent.md"
    ]


def test_the_list_for_tools(tmp_path: Path) -> None:
    nav = [{"Start": ["index.md", {"More": [{"Other": "other.md"}]}]}]
    order = [*navigation(nav)]
    pages = {path.name: Page(path.read_text()) for path in site_with(tmp_path, "").glob("*.html")}
    assert llms({"site_name": "name", "site_description": "What it is"}, order, pages) == (
        "# name\n\n> What it is.\n\n## Start\n\n- [A page](index.html): The reader has one page.\n\n"
        "## Start: More\n\n- [A page](other.html): The reader has one page.\n"
    )


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("It reads config.toml, e.g. from a folder. Then", "It reads config.toml, e.g. from a folder."),
        ("You return records. to_dict() makes values.", "You return records."),
        ("What follows: A list", "What follows"),
        ("word " * 60, re.compile(r"word( word)+\.\.\.")),
    ],
)
def test_the_first_sentence(text: str, first: str | re.Pattern[str]) -> None:
    found = sentence(text.strip())
    assert found == first if isinstance(first, str) else first.fullmatch(found) and len(found) <= 200


BAD = """
<style>p { width: 1000px } .pale { color: #999 } .faint { opacity: 0.5 } .hidden { visibility: hidden }</style>
<p class="pale">Too pale</p><p style="background: #222; color: #999">Good</p><h2 class="pale">Large and pale</h2>
<p class="faint">Faint</p><p class="pale hidden">Not shown</p><p style="font-size: 9px">Small</p>
<button></button><button aria-label="Close"></button><img src="absent.png" alt="Absent">
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@NEEDS_CHROMIUM[-1]
def test_faults_that_a_browser_sees(tmp_path: Path) -> None:
    from site_checks import look_at_site

    site = site_with(tmp_path, BAD)
    driver = look_at_site.browser(str(tmp_path / "profile"))
    try:
        look_at_site.show(driver, 1280, "light")
        driver.get((site / "index.html").as_uri())
        assert driver.execute_script(look_at_site.SCRIPT) == [
            '"Too pale" (article > p.pale) has a contrast of 2.85 in rgb(153, 153, 153): 4.5 is needed',
            '"Large and pale" (article > h2.pale) has a contrast of 2.85 in rgb(153, 153, 153): 3 is needed',
            '"Faint" (article > p.faint) has a contrast of 3.98 in rgb(0, 0, 0): 4.5 is needed',
            '"Small" (article > p) has letters of 9 px: 11 are needed',
            "a control without a text or an aria-label: article > button",
            "an image that is not shown: absent.png",
        ]
        look_at_site.show(driver, 390, "light")
        assert any("scrolls sideways" in each for each in driver.execute_script(look_at_site.SCRIPT))
        driver.execute_script("fetch('http://127.0.0.1:9/').catch(() => 0)")
        while "a request to http://127.0.0.1:9/" not in driver.execute_script(look_at_site.SCRIPT):
            pass
        assert any("absent.png" in each for each in look_at_site.problems_of_logs(driver))
    finally:
        driver.quit()


def test_a_public_name_without_an_anchor() -> None:
    """An id on another page than those of the API reference does not count."""
    pages = {
        "reference/api/printing.html": Page(PAGE % '<a id="ezeep_async.PrintJob.id"></a>'),
        "index.html": Page(PAGE % '<a id="ezeep_async.PrintJob.status"></a>'),
    }
    needed = ["ezeep_async.PrintJob.id", "ezeep_async.PrintJob.status"]
    assert [*problems_of_reference(pages, needed)] == [
        "reference/api: there is no #ezeep_async.PrintJob.status"
    ]
