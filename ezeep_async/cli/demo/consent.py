"""The person at the browser: opens the consent page of the sandbox and submits its form."""

from __future__ import annotations

from html.parser import HTMLParser

import aiohttp
from yarl import URL

from ezeep_async import AuthorizationDenied


class ConsentForm(HTMLParser):
    """The form of a consent page: its action, its fields with their values, and the paragraphs of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self._paragraphs: list[str] = []
        self._in_paragraph = False
        self.feed(html)
        self.close()

    @property
    def message(self) -> str:
        """The paragraphs of the page, in one line."""
        return " ".join("".join(self._paragraphs).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._in_paragraph = self._in_paragraph or tag == "p"
        if tag == "form":
            self.action = values.get("action") or ""
        elif tag == "input" and (name := values.get("name")):
            self.fields[name] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._in_paragraph = self._in_paragraph and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._in_paragraph:
            self._paragraphs.append(data)


async def allow(url: str) -> str:
    """Give consent at `url` as the person whom the page suggests, and return the address of the redirect.

    Raises `AuthorizationDenied` with the message of the page if it is an error.
    """
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url, allow_redirects=False) as response:
            if redirect := response.headers.get("Location"):  # an error that the application receives
                return redirect
            form = ConsentForm(await response.text())
            if response.status >= 400:
                raise AuthorizationDenied(
                    f"the consent page answered {response.status}: {form.message}", status=response.status
                )
        data = {**form.fields, "decision": "approve"}
        async with browser.post(
            URL(url).join(URL(form.action)), data=data, allow_redirects=False
        ) as response:
            return response.headers["Location"]
