"""The person at the browser: opens the consent page, presses "Allow", and comes back with the redirect."""

from __future__ import annotations

from html.parser import HTMLParser

import aiohttp
from yarl import URL

from ezeep_async.errors import AuthorizationDenied, ConnectFailed, UnexpectedResponse


PATIENCE = aiohttp.ClientTimeout(total=30)
_REDIRECTS = frozenset({302, 303})


class ConsentForm(HTMLParser):
    """The form of a consent page: where it goes, its fields as they are filled in, and what the page says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._text: list[str] = []
        self._in_paragraph = False
        self.feed(html)
        self.close()

    @property
    def message(self) -> str:
        """The paragraphs of the page, in one line."""
        return " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self.action = values.get("action") or ""
        elif tag == "input" and (name := values.get("name")):
            self.fields[name] = values.get("value") or ""
        elif tag == "p":
            self._in_paragraph = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self._in_paragraph = False

    def handle_data(self, data: str) -> None:
        if self._in_paragraph:
            self._text.append(data)


async def allow(url: str) -> str:
    """Give consent at `url` as the person whom the page suggests. Returns the address that the browser is sent to.

    Raises `AuthorizationDenied` when the page is an error, with what it says; `ConnectFailed`, `UnexpectedResponse`.
    """
    try:
        async with aiohttp.ClientSession(timeout=PATIENCE) as browser:
            async with browser.get(url, allow_redirects=False) as response:
                if response.status in _REDIRECTS:  # an error that the application is told
                    return response.headers["Location"]
                form = await _page(response)
            if form.action is None:
                raise UnexpectedResponse("the consent page has no form")
            target = URL(url).join(URL(form.action))
            async with browser.post(
                target, data={**form.fields, "decision": "approve"}, allow_redirects=False
            ) as response:
                if response.status not in _REDIRECTS:
                    await _page(response)
                    raise UnexpectedResponse(
                        f"the consent page answered {response.status} and no redirect", status=response.status
                    )
                return response.headers["Location"]
    except (aiohttp.ClientError, TimeoutError, KeyError) as error:
        what = "no address to go to" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ConnectFailed(f"the consent page cannot be used: {what}") from error


async def _page(response: aiohttp.ClientResponse) -> ConsentForm:
    form = ConsentForm((await response.read()).decode("utf-8", "replace"))
    if response.status >= 400:
        raise AuthorizationDenied(
            f"the consent page answered {response.status}: {form.message or 'no explanation'}",
            status=response.status,
        )
    return form
