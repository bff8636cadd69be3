"""A browser, as far as the sandbox's pages need one: it reads forms and submits them."""

from __future__ import annotations

from html.parser import HTMLParser

import aiohttp
from yarl import URL


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values.get("action", "")
        elif tag == "input" and values.get("name"):
            self.fields[values["name"]] = values.get("value", "")


async def decide(url: str, decision: str = "approve", **fields: str) -> tuple[int, str]:
    """Open a page, submit its form, and give the status and where it redirects to (or its text)."""
    async with aiohttp.ClientSession() as client:
        async with client.get(url) as page:
            text = await page.text()
            if page.status != 200:
                return page.status, text
        form = _Form()
        form.feed(text)
        action = URL(url).join(URL(form.action)) if form.action else URL(url)
        data = {**form.fields, **fields, "decision": decision}
        async with client.post(action, data=data, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location") or await answer.text()
