"""`AuthorizationRequest.to_cookie` and `from_cookie`."""

from __future__ import annotations

import base64
import builtins
import time

import attrs
import pytest
from cryptography.fernet import Fernet

from ezeep_async import AuthorizationDenied, AuthorizationRequest, EzeepSession, InvalidLoginCookie, OAuthApp


SECRET = "a secret of the app, with 32 or more characters"
APP = OAuthApp("client", "secret", "https://app.example/callback")


def new_request(**options) -> AuthorizationRequest:
    return EzeepSession(APP).oauth.authorization_request(**options)


@pytest.mark.parametrize("secret", [SECRET, SECRET.encode(), "ä" * 40, "x"])
@pytest.mark.parametrize("state", [None, "a state of the app: ä"])
def test_a_request_survives_the_cookie(secret: str | bytes, state: str | None) -> None:
    """Equal in all fields. The value needs no quotes in a cookie, and each is another one."""
    request = new_request(state=state)
    value = request.to_cookie(secret)
    assert AuthorizationRequest.from_cookie(value, secret) == request
    assert all(letter.isalnum() or letter in "-_=" for letter in value)
    assert value.isascii()
    assert len(value) < 2000
    assert value != request.to_cookie(secret)
    bare = attrs.evolve(request, redirect_uri=None)
    assert AuthorizationRequest.from_cookie(bare.to_cookie(secret), secret) == bare


def test_text_and_bytes_are_the_same_secret() -> None:
    request = new_request()
    assert AuthorizationRequest.from_cookie(request.to_cookie(SECRET), SECRET.encode()) == request


def test_a_secret_is_changed_without_ending_logins() -> None:
    """The first one encrypts, all of them decrypt. Tuples are lists."""
    request, new = new_request(), "a new secret, with 32 or more characters"
    before = request.to_cookie(SECRET)
    after = request.to_cookie([new, SECRET])
    assert AuthorizationRequest.from_cookie(before, [new, SECRET]) == request
    assert AuthorizationRequest.from_cookie(after, (new.encode(),)) == request
    for value, secret in ((before, [new]), (after, [SECRET]), (after, SECRET)):
        with pytest.raises(InvalidLoginCookie, match="cannot be decrypted"):
            AuthorizationRequest.from_cookie(value, secret)


def test_a_cookie_from_the_future_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would live longer than ten minutes. A difference of a minute between the clocks of two hosts is none."""
    request = new_request()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 50)
    near = request.to_cookie(SECRET)
    monkeypatch.setattr(time, "time", lambda: now + 70)
    far = request.to_cookie(SECRET)
    monkeypatch.setattr(time, "time", lambda: now)
    assert AuthorizationRequest.from_cookie(near, SECRET) == request
    with pytest.raises(InvalidLoginCookie, match="in the future") as caught:
        AuthorizationRequest.from_cookie(far, SECRET)
    assert caught.value.error == "invalid_cookie"


def test_the_cookie_shows_nothing() -> None:
    """Neither the code verifier nor the state, also not in base64."""
    request = new_request()
    value = request.to_cookie(SECRET)
    for secret in (request.code_verifier, request.state):
        assert secret not in value
        assert secret.encode() not in base64.urlsafe_b64decode(value)


def test_an_old_cookie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `max_age` seconds, ten minutes by default."""
    request = new_request()
    value = request.to_cookie(SECRET)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 601)
    with pytest.raises(InvalidLoginCookie, match="600 s ago") as caught:
        AuthorizationRequest.from_cookie(value, SECRET)
    assert caught.value.error == "expired_cookie"
    assert AuthorizationRequest.from_cookie(value, SECRET, max_age=700) == request
    with pytest.raises(InvalidLoginCookie):
        AuthorizationRequest.from_cookie(value, SECRET, max_age=0.5)


@pytest.mark.parametrize("change", ["flip", "cut", "longer", "other secret", "other key", "text", "binary"])
def test_a_changed_cookie_is_refused(change: str) -> None:
    request = new_request()
    value = request.to_cookie(SECRET)
    middle = len(value) // 2
    changed = {
        "flip": value[:middle] + ("A" if value[middle] != "A" else "B") + value[middle + 1 :],
        "cut": value[:-10],
        "longer": "AAAA" + value,
        "other secret": request.to_cookie(SECRET + "."),
        "other key": Fernet(Fernet.generate_key()).encrypt(b"{}").decode(),
        "text": "not a cookie",
        "binary": "\x00\udcff ä",
    }[change]
    with pytest.raises(InvalidLoginCookie, match="cannot be decrypted") as caught:
        AuthorizationRequest.from_cookie(changed, SECRET)
    assert isinstance(caught.value, AuthorizationDenied)
    assert changed not in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_cookie_is_refused(value: str | None) -> None:
    with pytest.raises(InvalidLoginCookie, match="no login cookie"):
        AuthorizationRequest.from_cookie(value, SECRET)


@pytest.mark.parametrize("secret", ["", b"", None, 5, [], [SECRET, ""], [None], {SECRET: 1}])
def test_the_secret_is_checked(secret) -> None:
    with pytest.raises(ValueError, match="secret must be"):
        new_request().to_cookie(secret)
    with pytest.raises(ValueError, match="secret must be"):
        AuthorizationRequest.from_cookie("x", secret)


@pytest.mark.parametrize("max_age", [0, -1, float("nan")])
def test_max_age_is_checked(max_age: float) -> None:
    with pytest.raises(ValueError, match="max_age"):
        AuthorizationRequest.from_cookie("x", SECRET, max_age=max_age)


def test_a_cookie_that_browsers_drop_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter state"):
        new_request(state="x" * 3000).to_cookie(SECRET)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    request, load = new_request(), builtins.__import__

    def without_cryptography(name: str, *args, **kwargs):
        if name.startswith("cryptography"):
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_cryptography)
    for act in (lambda: request.to_cookie(SECRET), lambda: AuthorizationRequest.from_cookie("x", SECRET)):
        with pytest.raises(ImportError, match=r"ezeep_async\[web\]"):
            act()
