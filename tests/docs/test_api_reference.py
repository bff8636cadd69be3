"""The pages of the API reference name all that is public, and their extension finds both forms of each method."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import griffe
import pytest

import ezeep_async


pytestmark = pytest.mark.may_block

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/reference/api").glob("*.md"))
MODULES = ["", ".errors", ".provisioning", ".sandbox", ".testing", ".webhooks"]
# Blocking classes whose lifetime differs from that of the async class have entries of their own.
APART = {"BlockingSession", "BlockingSessionPool", "BlockingPaginator"}


def _entries() -> list[str]:
    return [
        name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    ]


def _object(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_each_public_name_has_one_entry() -> None:
    """By identity, so that a name that two modules export has one entry."""
    entries = [(path, _object(path)) for path in _entries()]
    assert [path for path, count in Counter(path for path, _ in entries).items() if count > 1] == []
    wrong = {}
    for suffix in MODULES:
        module = importlib.import_module(f"ezeep_async{suffix}")
        for name in module.__all__:
            found = [path for path, each in entries if each is getattr(module, name)]
            twin = name.removeprefix("Blocking")
            is_shown_with_its_twin = name.startswith("Blocking") and twin in ezeep_async.__all__
            expected = 0 if is_shown_with_its_twin and name not in APART else 1
            if len(found) != expected:
                wrong[f"{module.__name__}.{name}"] = found
    assert wrong == {}, (
        "a public name needs one entry `::: NAME` in docs/reference/api/: these have none, or several"
    )


def test_entries_are_public() -> None:
    """A page shows what `__all__` exports, and nothing else."""
    for path in _entries():
        module, _, name = path.rpartition(".")
        assert name in getattr(importlib.import_module(module), "__all__", ()), (
            f"{path} is not public: remove its entry"
        )


@pytest.fixture(scope="module")
def package() -> griffe.Module:
    extension = runpy.run_path(str(ROOT / "docs/.scripts/api_reference.py"))["ApiReference"]
    found = griffe.load(
        "ezeep_async",
        search_paths=[ROOT],
        docstring_parser="google",
        extensions=griffe.Extensions(extension()),
    )
    assert isinstance(found, griffe.Module)
    return found


def test_each_blocking_method_is_shown_with_its_async_form(package: griffe.Module) -> None:
    """All methods of all blocking classes, those that are inherited from private classes too."""
    missing = []
    count = 0
    for name in ezeep_async.__all__:
        kind = getattr(ezeep_async, name)
        if not name.startswith("Blocking") or issubclass(kind, Exception):
            continue
        shown = {alias for each in _tree(package) for alias in each.aliases}
        for method, _ in inspect.getmembers(kind, callable):
            if (
                method.startswith("_")
                or method == "aclose"
                or (name, method) == ("BlockingPrinting", "source")
            ):
                continue
            count += 1
            if f"ezeep_async.{name}.{method}" not in shown:
                missing.append(f"{name}.{method}")
    assert missing == []
    assert count > 60


def _tree(each: griffe.Object) -> list[griffe.Object]:
    members = [one for one in each.members.values() if isinstance(one, griffe.Object)]
    return [each, *(found for one in members for found in _tree(one))]


def test_the_rows_of_a_listing(package: griffe.Module) -> None:
    """The type variable of the private base class has its value, and both forms say what they return."""
    method = package["resources.groups.Groups.list"]
    forms = method.extra["ezeep"]
    assert str(method.returns) == "Paginator[Group]"
    assert (forms["async_call"], forms["blocking_call"]) == ("session.groups.list", "session.groups.list")
    assert str(forms["blocking_return"]) == "BlockingPaginator[Group]"
    assert not forms["is_async"]
    assert package["resources.groups.Groups.get"].extra["ezeep"]["is_async"]
    closing = package["session.EzeepSession.aclose"].extra["ezeep"]
    assert (closing["async_call"], closing["blocking_call"]) == ("session.aclose", "session.close")


def test_names_and_documents_become_links(package: griffe.Module) -> None:
    """Not in code, and not to the entry itself."""
    text = package["resources.groups.Groups.ensure"].docstring.value
    assert "[`TokenStore`][ezeep_async.TokenStore]" in text
    assert "[`create`][ezeep_async.Groups.create]" in text
    assert "(../../ezeep-api.md#groups)" in text
    assert "docs/ezeep-api.md" not in text
    pairing = package["auth.oauth.OAuthLogin"].docstring.value
    assert "[`session.oauth`][ezeep_async.OAuth]" in pairing
    assert (
        "with run_sync(EzeepSession(app, store)) as session:"
        in package["blocking.twin.run_sync"].docstring.value
    )


def test_classes_of_attrs_have_a_signature(package: griffe.Module) -> None:
    """In the order of the real one, with its defaults."""
    for name in ("Settings", "Endpoints", "Group", "PrintOptions", "TokenSet", "OAuthApp", "Report"):
        kind = getattr(ezeep_async, name)
        real = [each for each in inspect.signature(kind).parameters.values() if not each.name.startswith("_")]
        shown = package[kind.__module__.removeprefix("ezeep_async.") + f".{name}"]["__init__"].parameters
        assert [each.name for each in shown][1:] == [each.name for each in real], name
        assert [each.default is None for each in shown][1:] == [
            each.default is inspect.Parameter.empty for each in real
        ], name


def test_each_attribute_is_listed_with_its_class(package: griffe.Module) -> None:
    """With an anchor, also without a description, also if it is a parameter. `check_site.py` finds them in the pages."""
    script = runpy.run_path(str(ROOT / "docs/.scripts/api_reference.py"))
    count = 0
    for path, each in script["public_objects"](package):
        if not isinstance(each, griffe.Class):
            continue
        names = [one.name for one in each.members.values() if isinstance(one, griffe.Attribute)]
        names = [name for name in names if not name.startswith("_")]
        listed = [
            item.name
            for section in (each.docstring.parsed if each.docstring else [])
            if isinstance(section, griffe.DocstringSectionAttributes | griffe.DocstringSectionParameters)
            for item in section.value
        ]
        assert {*names} <= {*listed}, path
        assert each.extra.get("ezeep_anchors", {}) == {name: f"{path}.{name}" for name in names}
        count += len(names)
    assert count > 600
    job = package["resources.printing.PrintJob"].docstring.parsed[-1].value
    assert (job[0].name, str(job[0].annotation)) == ("id", "str")


def test_types_in_signatures_have_an_entry_or_are_written_out(package: griffe.Module) -> None:
    """Aliases such as `PrintSource`, and classes of options such as `CallOptions`."""
    public = dict(runpy.run_path(str(ROOT / "docs/.scripts/api_reference.py"))["public_objects"](package))
    unexplained = {}
    for path, each in public.items():
        for one in _tree(each) if isinstance(each, griffe.Class | griffe.Function) else [each]:
            for name in _names_in_signature(one):
                target = package
                for part in name.canonical_path.split(".")[1:]:
                    target = target.members.get(part, target)
                if id(target) not in map(id, public.values()) and _is_alias_or_options(target):
                    unexplained[name.canonical_path] = f"{path}: {one.name}"
    assert unexplained == {}
    form = package["provisioning.inputs.desired.DesiredState.from_bytes"].parameters["form"]
    assert str(form.annotation) == "Literal['csv', 'json', 'yaml']"
    source = package["resources.printing.Printing.print_file"].parameters["source"]
    assert str(source.annotation) == "PrintSource"


def _names_in_signature(each: griffe.Object) -> list[griffe.ExprName]:
    if each.name.startswith("_") and each.name != "__init__":
        return []
    if isinstance(each, griffe.Function):
        annotations = [each.returns, *(parameter.annotation for parameter in each.parameters)]
    else:
        annotations = [each.annotation] if isinstance(each, griffe.Attribute) else []
    found = [
        one for given in annotations if isinstance(given, griffe.Expr) for one in given.iterate(flat=True)
    ]
    return [
        one
        for one in found
        if isinstance(one, griffe.ExprName) and one.canonical_path.startswith("ezeep_async.")
    ]


def _is_alias_or_options(each: griffe.Object | griffe.Alias) -> bool:
    if isinstance(each, griffe.Class):
        return any(str(base) == "TypedDict" for base in each.bases)
    is_of_module = isinstance(each, griffe.Attribute) and isinstance(each.parent, griffe.Module)
    return is_of_module and not isinstance(each.value, griffe.ExprCall)  # a call makes a type variable


def test_docstrings_are_read_as_meant(package: griffe.Module) -> None:
    """Each class of `Raises:` is one class, each parameter has a type, and `Returns:` has that of the function."""
    public = runpy.run_path(str(ROOT / "docs/.scripts/api_reference.py"))["public_objects"]
    wrong = []
    for path, each in public(package):
        members = list(each.members.values()) if isinstance(each, griffe.Class) else []
        for one in [each, *members]:
            if not isinstance(one, griffe.Object) or one.docstring is None:
                continue
            for section in one.docstring.parsed:
                if isinstance(section, griffe.DocstringSectionRaises):
                    wrong += [
                        f"{path}: {item.annotation}"
                        for item in section.value
                        if not str(item.annotation).isidentifier()
                    ]
                elif isinstance(section, griffe.DocstringSectionParameters):
                    wrong += [f"{path}: {item.name}" for item in section.value if item.annotation is None]
    assert wrong == []
