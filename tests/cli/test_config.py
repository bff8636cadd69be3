"""The configuration file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ezeep_async.cli.connection import Configuration


SECRET = "s3cret"


def written(tmp_path: Path, text: str | bytes) -> dict[str, str]:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return {"EZEEP_CONFIG": str(path)}


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    environ = written(tmp_path, 'client_id = "from the file"\nredirect_uri = "r"\n')
    assert Configuration(environ).get("client_id") == "from the file"
    both = Configuration(environ | {"EZEEP_CLIENT_ID": "from outside"})
    assert both.get("client_id") == "from outside"
    assert (both.in_environment("client_id"), both.in_environment("redirect_uri")) == ("from outside", None)
    assert both.get("redirect_uri") == "r"
    assert both.get("client_secret") is None


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    environ = written(tmp_path, 'client_id = "x"\n') | {"EZEEP_CLIENT_ID": ""}
    assert Configuration(environ).get("client_id") == "x"


def test_an_empty_name_of_the_file_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Configuration({"EZEEP_CONFIG": ""}).get("client_id") is None


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert Configuration({}).path == tmp_path / "ezeep_async" / "config.toml"
    (Path.home() / "x.toml").touch()
    assert Configuration({"EZEEP_CONFIG": "~/x.toml"}).path == Path.home() / "x.toml"
    assert Configuration({}).get("client_id") is None  # no file, no settings


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Configuration({"EZEEP_CONFIG": str(tmp_path / "absent.toml")})


def test_paths_count_from_the_files_folder(tmp_path: Path) -> None:
    environ = written(tmp_path, 'token_file = "login.json"\nclient_secret_file = "/run/secrets/ezeep"\n')
    configuration = Configuration(environ)
    assert configuration.get("token_file") == str(tmp_path / "login.json")
    assert configuration.get("client_secret_file") == "/run/secrets/ezeep"
    home = Configuration(written(tmp_path, 'token_file = "~/login.json"\n'))
    assert home.get("token_file") == str(Path.home() / "login.json")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f'client_secret = "{SECRET}\n', "line 1"),
        (f'client_secret = "{SECRET}"\nclient_secret = "{SECRET}"\n', "overwrite"),
        (f'client_sekret = "{SECRET}"\n', "not known: client_sekret"),
        ("client_secret = 5\n", "client_secret must be text"),
        (f'[client_secret]\nvalue = "{SECRET}"\n', "client_secret must be text"),
        (f'client_secret = "{SECRET}\xff"\n'.encode("latin-1"), "not UTF-8"),
        ("\0", "line 1"),
        ("a = " + "[" * 5000, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_understood(tmp_path: Path, text: str | bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        Configuration(written(tmp_path, text))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "config.toml" in str(caught.value)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    assert Configuration(written(tmp_path, b'\xef\xbb\xbfclient_id = "x"\n')).get("client_id") == "x"
