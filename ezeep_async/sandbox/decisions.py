"""`Decisions`: what people do on the pages of the sandbox, without a browser."""

from __future__ import annotations

from uuid import UUID

from yarl import URL

from ezeep_async.auth.oauth import Pairing
from ezeep_async.sandbox.handlers import consent
from ezeep_async.sandbox.handlers.routes import State
from ezeep_async.sandbox.replies import Refused
from ezeep_async.sandbox.state.organization import Person


class Decisions:
    """A base class of `Sandbox`."""

    _state: State

    def approve(self, url: str, *, user: UUID | str | None = None, allow: bool = True) -> str:
        """Decide on the consent page, as a person does in a browser.

        Args:
            url: Address of the page, such as `AuthorizationRequest.url`.
            user: Id or e-mail address of the person. Default: the admin.
            allow: False: the person declines.

        Returns:
            The address that the browser is redirected to: with a code, or with an error.

        Raises:
            KeyError: There is no such person.
            ValueError: The page shows an error, and does not redirect.
        """
        person = self._person(user) if allow else None
        try:
            redirect = consent.authorization(self._state, URL(url).query, person)
        except Refused as refusal:
            redirect = refusal
        if (location := redirect.response.headers.get("Location")) is None:
            raise ValueError(f"the consent page refuses the request: {redirect}")
        return location

    def confirm(self, pairing: Pairing | str, *, user: UUID | str | None = None, allow: bool = True) -> None:
        """Decide about the pairing of a device, as a person does in a browser.

        Args:
            pairing: What `session.oauth.pair` returned, or the address in it.
            user: Id or e-mail address of the person. Default: the admin.
            allow: False: the person declines.

        Raises:
            KeyError: There is no such person.
            ValueError: The pairing is unknown, or it was decided already.
        """
        url = pairing if isinstance(pairing, str) else pairing.auth_url
        person = self._person(user) if allow else None
        try:
            consent.settle_pairing(self._state, URL(url).query, person)
        except Refused as refusal:
            raise ValueError(f"the pairing page refuses the request: {refusal}") from None

    def _person(self, user: UUID | str | None) -> Person:
        if not isinstance(user, str):
            return self._state.organization.people[
                self._state.organization.admin_id if user is None else user
            ]
        if (person := self._state.organization.person_with_email(user)) is None:
            raise KeyError(user)
        return person
