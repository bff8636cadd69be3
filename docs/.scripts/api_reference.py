"""What the pages of docs/reference/api need besides the docstrings: an extension of Griffe, which `mkdocs.yml` names.

It prepares the tree of the package once, before any page is rendered:

- methods of private base classes become methods of the public class;
- classes of attrs get the signature of their `__init__`, and one table of their fields;
- each async method knows its blocking form (`extra["ezeep"]`, for the templates in docs/.templates), and the names of
  the blocking classes lead to the entries of the async ones;
- names in backticks, classes in `Raises:` and paths of documents become links.
"""

from __future__ import annotations

import builtins
import copy
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe


DOCS = Path(__file__).parents[1]
PACKAGE = "ezeep_async"
PUBLIC_MODULES = ("", ".errors", ".provisioning", ".sandbox", ".testing", ".webhooks")
# The expression for an object of the class in the rows "async" and "blocking".
# Blocking classes with an entry of their own, because their lifetime differs. The other ones share that of the async class.
_OWN_ENTRY = {"BlockingSession", "BlockingSessionPool", "BlockingPaginator"}
CALLED = {
    "BlockingSession": "session",
    "BlockingSessionPool": "pool",
    "BlockingOAuthLogin": "pool.oauth",
    "BlockingPrintJob": "job",
    "BlockingPaginator": "listing",
}
_RENAMED = {"aclose": "close"}
_CODE = re.compile(r"(?<![\[`])`(?P<name>[A-Za-z_][\w.]*)(?P<call>\(\))?`(?![`\]])")
_DOCUMENT = re.compile(r"`?docs/(?P<page>[\w/-]+)\.md(?:#(?P<anchor>[\w-]+))?`?")


class ApiReference(griffe.Extension):
    """Prepares the package for the templates."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Prepare the whole tree."""
        if pkg.path == PACKAGE:
            _Preparation(pkg).run()


class _Preparation:
    def __init__(self, package: griffe.Module) -> None:
        self.package = package
        self.public = dict(public_objects(package))
        """By the path under which an object has its entry."""
        self.names: dict[str, str] = {}
        """The paths of entries by short names: `Groups`, `Groups.create`."""

    def run(self) -> None:
        classes = {path: each for path, each in self.public.items() if isinstance(each, griffe.Class)}
        own = {id(each) for each in classes.values()}
        for cls in classes.values():
            self._take_over(cls, own)
            self._hide_internal(cls)
        twins = {
            path.rpartition(".")[2]: each
            for path, each in classes.items()
            if path.startswith(f"{PACKAGE}.Blocking") and not path.endswith("Error")
        }
        for name, twin in twins.items():
            self._pair(twin, classes, name)
        for path, each in self.public.items():
            self._name(path, each)
        for path, each in self.public.items():
            for one in (each, *_members(each)):
                self._expand(one)
                self._link(one, path)
                _name_builtins(one)
            if isinstance(each, griffe.Class) and "__init__" in each.members:
                self._expand(each.members["__init__"])
                _name_builtins(each.members["__init__"])
            if isinstance(each, griffe.Class):
                self._tabulate(each, path)

    def _name(self, path: str, each: griffe.Object) -> None:
        """Collect the names that lead to an entry: `Groups.list` and `session.groups.list` are one method."""
        short = path.removeprefix(f"{PACKAGE}.")
        attribute = each.extra.get("ezeep", {}).get("attribute")
        for owner in [short, short.rpartition(".")[2], *([attribute] if attribute else [])]:
            self.names.setdefault(owner, path)
            for member in _members(each) if owner in (short, attribute) else []:
                self.names.setdefault(f"{owner}.{member.name}", f"{path}.{member.name}")

    def _take_over(self, cls: griffe.Class, public: set[int]) -> None:
        """Copy the members of private bases, and make the signature of a class of attrs."""
        for base in cls.bases:
            origin = _resolved(base, self.package)
            if origin is None or id(origin) in public:
                continue
            self._take_over(origin, public)
            variables = _type_arguments(base, origin)
            for name, member in origin.members.items():
                # Copies, and not aliases: the type variables of the base get their values.
                if isinstance(member, griffe.Object) and not name.startswith("_") and name not in cls.members:
                    cls.set_member(name, _with_types(member, variables))
        if "__init__" not in cls.members and _is_of_attrs(cls):
            cls.set_member("__init__", _attrs_init(cls, self.package))
        is_private = not _is_of_attrs(cls) or any(each.name.startswith("_") for each in _fields(cls))
        if "__init__" in cls.members and is_private and "Args:" not in (_text(cls) or ""):
            cls.del_member("__init__")  # the package calls it

    def _hide_internal(self, cls: griffe.Class) -> None:
        for name, member in list(cls.members.items()):
            if (text := _text(member)) and text.startswith("Internal:"):
                del cls.members[name]
            elif name == "again":
                member.docstring = None

    def _pair(self, twin: griffe.Class, classes: dict[str, griffe.Class], name: str) -> None:
        """Connect the methods of a blocking class with those of its async class."""
        plain = name.removeprefix("Blocking")
        path = f"{PACKAGE}.Ezeep{plain}" if f"{PACKAGE}.Ezeep{plain}" in classes else f"{PACKAGE}.{plain}"
        cls = classes[path]
        cls.extra["ezeep"] = {"blocking": name, "path": f"{PACKAGE}.{name}", "is_apart": name in _OWN_ENTRY}
        if name not in _OWN_ENTRY:
            cls.aliases[f"{PACKAGE}.{name}"] = cls.aliases[twin.path] = _alias(name, cls)
        called = CALLED.get(name)
        if called is None:
            attribute = next(
                each.name
                for each in classes[f"{PACKAGE}.BlockingSession"].attributes.values()
                if str(each.annotation) == name
            )
            called = cls.extra["ezeep"]["attribute"] = f"session.{attribute}"
        bases = [cls, *(base for each in cls.bases if (base := _resolved(each, self.package)))]
        for member in [one for base in bases for one in _members(base)]:
            other = _RENAMED.get(member.name, member.name)
            if other not in twin.members:
                continue
            for prefix in (f"{PACKAGE}.{name}", twin.path):
                member.aliases[f"{prefix}.{other}"] = _alias(other, member)
            if isinstance(member, griffe.Function) and member.parent is cls:
                member.extra["ezeep"] = _forms(member, other, called, twin.members[other])
        if name in _OWN_ENTRY:
            for each in twin.members.values():
                each.docstring = None

    def _expand(self, each: griffe.Object | griffe.Alias) -> None:
        """Show what an alias of types means, if the alias has no entry."""
        if isinstance(each, griffe.Function):
            each.returns = self._expanded(each.returns)
            for parameter in each.parameters:
                parameter.annotation = self._expanded(parameter.annotation)
        elif isinstance(each, griffe.Attribute):
            each.annotation = self._expanded(each.annotation)

    def _expanded(self, annotation: Any) -> Any:
        values: dict[str, griffe.Expr] = {}
        for name in annotation.iterate(flat=True) if isinstance(annotation, griffe.Expr) else ():
            if isinstance(name, griffe.ExprName) and (value := self._alias_value(name)) is not None:
                values[name.name] = value
        return self._expanded(_substituted(annotation, values)) if values else annotation

    def _alias_value(self, name: griffe.ExprName) -> griffe.Expr | None:
        """What an alias stands for; None for other names, and for aliases with an entry."""
        path = name.canonical_path
        if not path.startswith(f"{PACKAGE}."):
            return None
        try:
            found = self.package[path.removeprefix(f"{PACKAGE}.")]
        except KeyError:
            return None
        found = found.final_target if isinstance(found, griffe.Alias) else found
        if not isinstance(found, griffe.Attribute) or found in self.public.values():
            return None
        value = found.value
        return value if isinstance(value, griffe.ExprSubscript | griffe.ExprBinOp) else None

    def _link(self, each: griffe.Object, path: str) -> None:
        """Turn names and paths in a docstring into links."""
        if each.docstring is None:
            return
        own = path.removeprefix(f"{PACKAGE}.")
        module = own.rpartition(".")[0]

        def name_link(match: re.Match[str]) -> str:
            name = match["name"]
            for candidate in (f"{own}.{name}", f"{module}.{name}", name):
                if (target := self.names.get(candidate)) and target not in (path, each.path):
                    return f"[{match[0]}][{target}]"
            return match[0]

        text = _CODE.sub(name_link, _DOCUMENT.sub(_document_link, each.docstring.value))
        each.docstring.value = "\n".join(
            was if was.startswith("    ") and _is_code(was) else now
            for was, now in zip(each.docstring.value.split("\n"), text.split("\n"), strict=True)
        )
        for section in each.docstring.parsed:
            self._correct(section, each)

    def _correct(self, section: griffe.DocstringSection, each: griffe.Object) -> None:
        """Correct what Griffe reads differently from what the docstring means."""
        if isinstance(section, griffe.DocstringSectionRaises):
            for raised in section.value:
                raised.annotation = self._names_in(str(raised.annotation))
        elif isinstance(section, griffe.DocstringSectionParameters):
            for parameter in section.value:
                if parameter.name.startswith("*"):
                    parameter.value = None  # it is () or {} otherwise
        elif isinstance(section, griffe.DocstringSectionReturns) and isinstance(each, griffe.Function):
            for returned in section.value:
                if isinstance(returned.annotation, str) and returned.annotation != str(each.returns):
                    # A colon in the sentence: what precedes it was taken for the type.
                    returned.description = f"{returned.annotation}: {returned.description}"
                    returned.annotation = each.returns

    def _names_in(self, annotation: str) -> griffe.Expr:
        """A class in `Raises:`, whose module may not import it."""
        parent = self.names.get(annotation, annotation).rpartition(".")[0]
        return griffe.ExprName(annotation, parent=parent or None)

    def _description(self, attribute: griffe.Attribute) -> str:
        """The text on an attribute; for a property with what it raises, and without its return type."""
        if attribute.docstring is None or "property" not in attribute.labels:
            return _text(attribute) or ""
        parts = []
        for section in attribute.docstring.parsed:
            if isinstance(section, griffe.DocstringSectionText):
                parts.append(section.value)
            elif isinstance(section, griffe.DocstringSectionRaises):
                for raised in section.value:
                    name = str(raised.annotation)
                    shown = f"[`{name}`][{self.names[name]}]" if name in self.names else f"`{name}`"
                    parts.append(f"Raises {shown}: {raised.description}")
        return "\n\n".join(parts)

    def _tabulate(self, cls: griffe.Class, path: str) -> None:
        """Show attributes in one list at the class, each with an anchor, and not as entries of their own."""
        sections = cls.docstring.parsed if cls.docstring else []
        documented = {
            item.name
            for section in sections
            if isinstance(section, griffe.DocstringSectionAttributes | griffe.DocstringSectionParameters)
            for item in section.value
        }
        rows: list[griffe.DocstringAttribute] = []
        for attribute in list(cls.members.values()):
            if not isinstance(attribute, griffe.Attribute) or attribute.name.startswith("_"):
                continue
            cls.extra.setdefault("ezeep_anchors", {})[attribute.name] = f"{path}.{attribute.name}"
            if attribute.name not in documented:
                rows.append(
                    griffe.DocstringAttribute(
                        attribute.name,
                        annotation=attribute.annotation,
                        description=self._description(attribute),
                    )
                )
            attribute.docstring = None
        if rows:
            if cls.docstring is None:
                cls.docstring = griffe.Docstring("", parent=cls)
            for section in cls.docstring.parsed:
                if isinstance(section, griffe.DocstringSectionAttributes):
                    section.value.extend(rows)
                    return
            cls.docstring.parsed.append(griffe.DocstringSectionAttributes(rows))


def public_objects(package: griffe.Module) -> Iterator[tuple[str, griffe.Object]]:
    """The public objects by the path of their entry: the shortest one under which they are exported."""
    seen: set[int] = set()
    for module in PUBLIC_MODULES:
        exporting = package[module[1:]] if module else package
        for name in exporting.exports or ():
            member = exporting.members.get(str(name))
            target = member.final_target if isinstance(member, griffe.Alias) else member
            if isinstance(target, griffe.Object) and id(target) not in seen:
                seen.add(id(target))
                yield f"{PACKAGE}{module}.{name}", target


def is_shown_with_its_twin(each: griffe.Object) -> bool:
    """Whether it is a blocking class without an entry of its own."""
    is_blocking = each.name.startswith("Blocking") and not each.name.endswith("Error")
    return is_blocking and each.name not in _OWN_ENTRY


def _members(each: griffe.Object) -> list[griffe.Object]:
    members = each.members.values() if isinstance(each, griffe.Class) else ()
    return [one for one in members if isinstance(one, griffe.Object) and not one.name.startswith("_")]


def _text(each: griffe.Object | griffe.Alias) -> str | None:
    return each.docstring.value if isinstance(each, griffe.Object) and each.docstring else None


def _alias(name: str, target: griffe.Object) -> griffe.Alias:
    return griffe.Alias(name, target.path)


def _resolved(base: griffe.Expr | str, package: griffe.Module) -> griffe.Class | None:
    path = base.canonical_path if isinstance(base, griffe.Expr) else base
    if not path.startswith(f"{PACKAGE}."):
        return None
    found = package[path.removeprefix(f"{PACKAGE}.")]
    found = found.final_target if isinstance(found, griffe.Alias) else found
    return found if isinstance(found, griffe.Class) else None


def _type_arguments(base: griffe.Expr | str, origin: griffe.Class) -> dict[str, griffe.Expr]:
    """The values of the type variables of `origin` in `class ...(origin[...])`."""
    if not isinstance(base, griffe.ExprSubscript) or not isinstance(base.slice, griffe.Expr):
        return {}
    generic = [each for each in origin.bases if isinstance(each, griffe.ExprSubscript)]
    return {str(each.slice): base.slice for each in generic if str(each.left) == "Generic"}


def _with_types(member: griffe.Object, variables: dict[str, griffe.Expr]) -> griffe.Object:
    new = copy.copy(member)
    new.extra = {}
    new.lineno = 0  # before the class's own
    new.aliases = {}
    if member.docstring is not None:
        new.docstring = griffe.Docstring(member.docstring.value, parent=new, parser=member.docstring.parser)
    if isinstance(new, griffe.Function):
        new.returns = _substituted(new.returns, variables)
        new.parameters = griffe.Parameters(
            *(
                griffe.Parameter(
                    each.name,
                    annotation=_substituted(each.annotation, variables),
                    kind=each.kind,
                    default=each.default,
                )
                for each in new.parameters
            )
        )
    return new


def _substituted(annotation: Any, variables: dict[str, griffe.Expr]) -> Any:
    if isinstance(annotation, griffe.ExprName):
        return variables.get(annotation.name, annotation)
    if isinstance(annotation, list | tuple):
        return [_substituted(each, variables) for each in annotation]
    if isinstance(annotation, griffe.Expr) and dataclasses.is_dataclass(annotation):
        changes = {
            field.name: _substituted(getattr(annotation, field.name), variables)
            for field in dataclasses.fields(annotation)
            if field.name not in {"parent", "name"}
        }
        return dataclasses.replace(annotation, **changes)
    return annotation


def _is_of_attrs(cls: griffe.Class) -> bool:
    return any(str(each.value).startswith(("attrs.", "attrs.frozen")) for each in cls.decorators)


def _fields(cls: griffe.Class) -> list[griffe.Attribute]:
    """The fields that a class of attrs defines itself."""
    return [
        each
        for each in cls.members.values()
        if isinstance(each, griffe.Attribute)
        and each.annotation is not None
        and "ClassVar" not in str(each.annotation)
        and "property" not in each.labels
    ]


def _attrs_init(cls: griffe.Class, package: griffe.Module) -> griffe.Function:
    kinds = griffe.ParameterKind
    parameters = {"self": griffe.Parameter("self", kind=kinds.positional_or_keyword)}
    keyword_only = any("kw_only=True" in str(each.value) for each in cls.decorators)
    lineage = [cls]
    while (base := next((b for e in lineage[-1].bases if (b := _resolved(e, package))), None)) is not None:
        lineage.append(base)
    for field in (field for each in reversed(lineage) if _is_of_attrs(each) for field in _fields(each)):
        default, is_left_out, is_keyword = _default_of(field.value)
        if not is_left_out:
            kind = kinds.keyword_only if keyword_only or is_keyword else kinds.positional_or_keyword
            name = field.name.lstrip("_")
            parameters[name] = griffe.Parameter(name, annotation=field.annotation, kind=kind, default=default)
    order = sorted(parameters.values(), key=lambda each: each.kind is kinds.keyword_only)
    return griffe.Function("__init__", parameters=griffe.Parameters(*order), parent=cls)


def _default_of(value: Any) -> tuple[Any, bool, bool]:
    """The default of a field, whether it is no argument, and whether it is keyword-only."""
    if not (isinstance(value, griffe.ExprCall) and str(value.function) in {"attrs.field", "field"}):
        return value, False, False
    given = {each.name: each.value for each in value.arguments if isinstance(each, griffe.ExprKeyword)}
    if str(given.get("init")) == "False":
        return None, True, False
    default = given.get("default")
    if default is None and "factory" in given:
        default = f"{given['factory']}()"
    return default, False, str(given.get("kw_only")) == "True"


def _forms(
    method: griffe.Function, other: str, called: str, twin: griffe.Object | griffe.Alias
) -> dict[str, Any]:
    """The two forms of a call, for the rows below the signature."""
    returned = method.returns
    blocking_return = twin.returns if isinstance(twin, griffe.Function) else _blocking_type(returned)
    is_property = "property" in method.labels
    owners = (called, called)
    if method.labels & {"classmethod", "staticmethod"} and method.parent is not None:
        owners = (method.parent.name, f"Blocking{method.parent.name}")
    return {
        "is_async": "async" in method.labels,
        "async_call": f"{owners[0]}.{method.name}",
        "blocking_call": f"{owners[1]}.{other}",
        "arguments": "" if is_property else "(...)" if len(method.parameters) > 1 else "()",
        "async_return": returned,
        "blocking_return": blocking_return,
    }


def _blocking_type(annotation: Any) -> Any:
    """`BlockingPaginator[Group]` for `Paginator[Group]`, an iterator for an asynchronous one."""
    names = {
        "Paginator": "BlockingPaginator",
        "PrintJob": "BlockingPrintJob",
        "PageIterator": "BlockingPages",
    }
    if isinstance(annotation, griffe.ExprSubscript):
        return dataclasses.replace(annotation, left=_blocking_type(annotation.left))
    if isinstance(annotation, griffe.ExprName):
        if annotation.name in names:
            return griffe.ExprName(names[annotation.name], parent=PACKAGE)
        if annotation.name == "AsyncIterator":
            return griffe.ExprName("Iterator", parent="collections.abc")
    return annotation


def _name_builtins(each: griffe.Object | griffe.Alias) -> None:
    """Give built-in types their module. Without it `list` would lead to the heading "List" of some page."""
    annotations: list[Any] = []
    if isinstance(each, griffe.Function):
        annotations = [each.returns, *(parameter.annotation for parameter in each.parameters)]
    elif isinstance(each, griffe.Attribute):
        annotations = [each.annotation]
    for annotation in annotations:
        for name in annotation.iterate(flat=True) if isinstance(annotation, griffe.Expr) else ():
            if isinstance(name, griffe.ExprName) and hasattr(builtins, name.name):
                name.parent = "builtins"


def _document_link(match: re.Match[str]) -> str:
    """A link from a page of docs/reference/api to another page."""
    page, anchor = match["page"], match["anchor"]
    heading = (DOCS / f"{page}.md").read_text("utf-8").partition("\n")[0].removeprefix("# ")
    title = f"{heading}: {anchor.replace('-', ' ')}" if anchor else heading
    return f"[{title}](../../{page}.md{f'#{anchor}' if anchor else ''})"


def _is_code(line: str) -> bool:
    """Whether an indented line of a docstring is code, which has no links."""
    return bool(re.match(r" +(async |await |with |for |def |class |return |@|\w+ = |\w+\()", line))
