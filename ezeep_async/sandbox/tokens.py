"""The state of the authorization server: token families, authorization codes and pairings."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import attrs

from ezeep_async.auth.app import code_challenge
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.sandbox.behaviour import Behaviour, Clock
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import Refused, json_response


SCOPE = "printing"


def oauth_error(error: str, description: str, status: int = 400) -> Refused:
    """An error response (RFC 6749 section 5.2)."""
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="ezeep"'
    return Refused(json_response({"error": error, "error_description": description}, status, headers))


@attrs.define(eq=False)
class Family:
    """All tokens that were issued for one authorization."""

    user_id: UUID
    alive: bool = True


@attrs.define(eq=False)
class _Pair:
    """An access token and a refresh token that were issued together."""

    family: Family
    tokens: TokenSet
    issued_at: datetime
    revoked: bool = False
    """Whether the access token was invalidated before its time."""
    used_at: datetime | None = None
    successor: TokenSet | None = None
    """The token set that the refresh token was exchanged for."""


@attrs.define(eq=False)
class _Code:
    user_id: UUID
    redirect_uri: str
    challenge: str | None
    scope: str
    used: bool = False


@attrs.define(eq=False)
class Pairing:
    """A device that waits for the decision of a person."""

    scope: str = SCOPE
    state: Literal["pending", "approved", "denied", "used"] = "pending"
    user_id: UUID | None = None
    asked_at: datetime | None = None


@attrs.define(eq=False)
class Grants:
    """Issues tokens and checks them. All methods are synchronous, so none is interrupted."""

    behaviour: Behaviour
    clock: Clock
    refreshes: int = 0
    """Number of refresh grants that rotated a token."""
    pairings: dict[str, Pairing] = attrs.field(factory=dict[str, Pairing], repr=False)
    _access: dict[str, _Pair] = attrs.field(factory=dict[str, _Pair], repr=False)
    _refresh: dict[str, _Pair] = attrs.field(factory=dict[str, _Pair], repr=False)
    _codes: dict[str, _Code] = attrs.field(factory=dict[str, _Code], repr=False)

    # --- tokens

    def issue(self, user_id: UUID, scope: str = SCOPE) -> TokenSet:
        return self._issue(Family(user_id), scope)

    def _issue(self, family: Family, scope: str) -> TokenSet:
        now, seconds = self.clock.now(), self.behaviour.expires_in
        access_token, refresh_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        expires_at = now + timedelta(seconds=seconds)
        tokens = TokenSet(access_token, refresh_token, expires_at, scope=scope, expires_in=seconds)
        pair = _Pair(family, tokens, now)
        self._access[access_token] = self._refresh[refresh_token] = pair
        return tokens

    def refresh(self, refresh_token: str, scope: str = "") -> TokenSet:
        """Rotate a refresh token. It is used then, and its access token is invalid.

        `scope` may leave out scopes of the old token set (RFC 6749 section 6).
        """
        now = self.clock.now()
        pair = self._refresh.get(refresh_token)
        if pair is None or not pair.family.alive:
            raise oauth_error("invalid_grant", "The refresh token is not valid.")
        if pair.used_at is not None and pair.successor is not None:
            if now - pair.used_at < timedelta(seconds=self.behaviour.grace_window):
                return pair.successor
            if self.behaviour.reuse_protection:
                pair.family.alive = False
            raise oauth_error("invalid_grant", "The refresh token was used already.")
        lifetime = self.behaviour.refresh_expires_in
        if lifetime is not None and now >= pair.issued_at + timedelta(seconds=lifetime):
            raise oauth_error("invalid_grant", "The refresh token has expired.")
        if not set(scope.split()) <= set(pair.tokens.scope.split()):
            raise oauth_error("invalid_scope", "The scope exceeds that of the refresh token.")
        successor = self._issue(pair.family, scope or pair.tokens.scope)
        pair.revoked, pair.used_at, pair.successor = True, now, successor
        self.refreshes += 1
        return pair.successor

    def owner(self, access_token: str) -> UUID | None:
        pair = self._access.get(access_token)
        if pair is None or pair.revoked or not pair.family.alive:
            return None
        return pair.family.user_id if self.clock.now() < pair.tokens.expires_at else None

    def occur_in(self, request: RecordedRequest) -> bool:
        """Whether a request has credentials: a header for them, or one of the tokens anywhere."""
        if request.headers.keys() & {"Authorization", "Proxy-Authorization", "Cookie"}:
            return True
        sent = "\n".join([request.path, *request.query.values(), *request.headers.values()])
        return any(token in sent for token in [*self._access, *self._refresh])

    def scopes(self, access_token: str) -> frozenset[str]:
        """The scopes of a token, whether it is valid or not."""
        pair = self._access.get(access_token)
        return frozenset(() if pair is None else pair.tokens.scope.split())

    def expire_access_tokens(self) -> None:
        """Expire all access tokens that were issued so far. Refresh tokens stay valid."""
        for pair in [*self._access.values()]:  # tests call this from other threads
            pair.revoked = True

    def end_all(self) -> None:
        """Revoke all token families that were issued so far."""
        for pair in [*self._access.values()]:  # tests call this from other threads
            pair.family.alive = False

    def revoke(self, token: str) -> None:
        """Revoke the family of a token. An unknown token changes nothing."""
        pair = self._refresh.get(token) or self._access.get(token)
        if pair is not None:
            pair.family.alive = False

    # --- codes

    def authorize(self, user_id: UUID, redirect_uri: str, challenge: str | None, scope: str = SCOPE) -> str:
        """Issue an authorization code, which does not expire."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Code(user_id, redirect_uri, challenge, scope)
        return code

    def redeem(self, code: str, redirect_uri: str | None, verifier: str | None) -> TokenSet:
        """Exchange an authorization code for a token set, once."""
        known = self._codes.get(code)
        if known is None or known.used:
            raise oauth_error("invalid_grant", "The code is unknown, or it was used already.")
        if redirect_uri != known.redirect_uri:
            raise oauth_error("invalid_grant", "redirect_uri is not the one of the authorization request.")
        if known.challenge is not None and not (
            verifier and verifier.isascii() and code_challenge(verifier) == known.challenge
        ):
            raise oauth_error("invalid_grant", "code_verifier does not match the code_challenge.")
        known.used = True
        return self.issue(known.user_id, known.scope)

    # --- pairing

    def begin_pairing(self, scope: str = SCOPE) -> str:
        code = secrets.token_hex(5)
        self.pairings[code] = Pairing(scope)
        return code

    def redeem_pairing(self, code: str) -> TokenSet:
        """Exchange the pairing code for a token set after a person approved it."""
        pairing = self.pairings.get(code)
        if pairing is None or pairing.state == "used":
            raise oauth_error("invalid_grant", "The pairing code is not valid.")
        if pairing.state == "denied":
            raise oauth_error("access_denied", "The pairing was declined.")
        now, asked_at = self.clock.now(), pairing.asked_at
        pairing.asked_at = now
        if pairing.state == "pending" or pairing.user_id is None:
            interval = timedelta(seconds=self.behaviour.pairing_interval)
            if asked_at is not None and now - asked_at < interval:
                raise oauth_error("slow_down", "Send fewer requests.")
            raise oauth_error("authorization_pending", "The pairing is not confirmed yet.")
        pairing.state = "used"
        return self.issue(pairing.user_id, pairing.scope)
