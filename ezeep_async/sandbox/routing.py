"""Which handler a path belongs to."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ezeep_async.sandbox.replies import Handler


@attrs.frozen
class Route:
    """One template with its handlers by method."""

    template: str
    handlers: Mapping[str, Handler]
    protected: bool
    """Whether it takes an access token."""


@attrs.frozen
class Match:
    """A path that belongs to a route."""

    route: Route
    id: str
    slash: bool
    """False where the path lacks its trailing slash."""


class Routes:
    """The templates of one host: plain paths, and paths that end in one `{id}`."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}

    def add(self, handlers: Mapping[str, Mapping[str, Handler]], *, protected: bool) -> None:
        """Add templates with their handlers."""
        for template, by_method in handlers.items():
            self._routes[template] = Route(template, by_method, protected)

    def __contains__(self, template: str) -> bool:
        return template in self._routes

    def find(self, path: str) -> Match | None:
        """The route of a path, with or without its trailing slash."""
        slash = path.endswith("/")
        whole = path if slash else path + "/"
        if (route := self._routes.get(whole)) is not None and "{" not in whole:
            return Match(route, "", slash)
        parent, _, last = whole[:-1].rpartition("/")
        if last and (route := self._routes.get(parent + "/{id}/")) is not None:
            return Match(route, last, slash)
        return None
