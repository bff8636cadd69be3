"""The messages of the package: of exceptions, of warnings in the log, and of lines that the command writes to standard error.

A message is read from the code as a template: what is filled in at run time is an ellipsis.
"""

from __future__ import annotations

import ast
import builtins
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ezeep_async"
LOG_METHODS = {"critical", "error", "exception", "log", "warning"}
# Functions that show, store or raise the message in their arguments.
REPORTERS = {
    "_fail", "_log", "fail", "_lost", "_not_found", "_refusal", "_refused", "_reporting", "_warn", "complain", "note_problem", "parser.error",
}  # shorter than one item a line  # fmt: skip
# A variable, and a function, that holds a part of a message: what is wrong, why, and what to do.
PARTS = {"advice", "hint", "message", "problem", "reason", "refused", "what", "why"}
PART_FUNCTION = re.compile(r"(?:^|_)(?:advice|hint|message|problem|problems|reason|refused|why)(?:_|$)")
REASONS = {"left_out", "unreadable"}
LISTS = {
    "advice",
    "drift",
    "gone",
    "lines",
    "notes",
    "problems",
    "self.warnings",
    "report.warnings",
    "warnings",
}
# Nouns and ends of sentences that stand in other messages, and lines that are results.
FRAGMENTS = {
    "# a page for people: …/",
    "…. Try again later",
    "Not needed yet",
    "job_id",
    "membership change",
    "membership or assignment",
    "printer assignment",
    "report_id",
    "these … users",
    "this user",
}
PLACEHOLDER = "…"


@dataclass(frozen=True)
class Message:
    """A template, a place in the code where it is used, and the exception class that it is raised as, or ""."""

    text: str
    place: str
    kind: str


def normalized(text: str) -> str:
    """White space and neighbouring placeholders as one."""
    text = re.sub(r"%(\.\d+)?[sdrgfo]", PLACEHOLDER, text)
    text = re.sub(rf"{PLACEHOLDER}+", PLACEHOLDER, " ".join(text.split()))
    return text.strip().lstrip(".,:; ")


def has_words(text: str) -> bool:
    """Whether a reader could look for it: at least two words of its own."""
    return len(re.findall(r"[A-Za-z]{2,}", text)) >= 2


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@dataclass(frozen=True)
class _Module:
    """A module, with what its names stand for."""

    path: Path

    @property
    def tree(self) -> ast.Module:
        return _tree(self.path)

    def constant(self, name: str) -> tuple[_Module, ast.expr] | None:
        """The value of a constant, also of one that is imported from the package."""
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            if any(isinstance(each, ast.Name) and each.id == name for each in targets) and node.value:
                return self, node.value
        there = self._imported(name)
        return there and there.constant(name)

    def function(self, name: str) -> tuple[_Module, ast.FunctionDef | ast.AsyncFunctionDef] | None:
        """The function, or the method, of this name."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                return self, node
        there = self._imported(name)
        return there and there.function(name)

    def _imported(self, name: str) -> _Module | None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and any(each.name == name for each in node.names):
                path = ROOT / Path(*(node.module or "").split("."))
                for found in (path.with_suffix(".py"), path / "__init__.py"):
                    if found.is_file() and found != self.path:
                        return _Module(found)
        return None


def _templates(node: ast.expr | None, module: _Module, function: ast.AST | None, depth: int = 0) -> list[str]:
    """The texts that an expression may have. Empty if nothing is known about it."""
    if depth > 6 or node is None:
        return []
    again = (module, function, depth + 1)
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(each) for each in itertools.product(*(_part(part, *again) for part in values))]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            lefts, rights = (_templates(left, *again), _templates(right, *again))
            if not lefts and not rights:
                return []
            return [a + b for a in lefts or [PLACEHOLDER] for b in rights or [PLACEHOLDER]]
        case ast.IfExp(body=body, orelse=orelse):
            return _templates(body, *again) + _templates(orelse, *again)
        case ast.BoolOp(values=values):
            return [text for each in values for text in _templates(each, *again)]
        case ast.GeneratorExp(elt=each) | ast.ListComp(elt=each):
            return _templates(each, *again)
        case ast.Tuple(elts=values) | ast.List(elts=values):
            return [text for each in values for text in _templates(each, *again)]
        case ast.NamedExpr(value=value):
            return _templates(value, *again)
        case ast.Name(id=name):
            return _named(name, *again)
        case (
            ast.Call(func=ast.Name(id=name))
            | ast.Call(func=ast.Attribute(attr=name, value=ast.Name(id="self")))
        ):
            if (found := module.function(name)) is None:
                return []
            there, called = found
            returns = [each.value for each in ast.walk(called) if isinstance(each, ast.Return | ast.Yield)]
            return [text for each in returns for text in _templates(each, there, called, depth + 1)]
    return []


def _part(part: ast.expr, module: _Module, function: ast.AST | None, depth: int) -> list[str]:
    if isinstance(part, ast.Constant):
        return [str(part.value)]
    assert isinstance(part, ast.FormattedValue)
    # A constant in capitals is text of the message, and so is a part that may be empty; everything else is filled in at run
    # time.
    if isinstance(part.value, ast.Name) and part.value.id.strip("_").isupper():
        return _templates(part.value, module, function, depth) or [PLACEHOLDER]
    if isinstance(part.value, ast.Name) and function is not None:
        texts = _named(part.value.id, module, function, depth)
        if "" in texts and any(has_words(normalized(text)) for text in texts):
            return texts
    return [PLACEHOLDER]


def _named(name: str, module: _Module, function: ast.AST | None, depth: int) -> list[str]:
    texts: list[str] = []
    for node in ast.walk(function) if function is not None else ():
        match node:
            case ast.Assign(targets=[ast.Name(id=given)], value=value) if given == name:
                texts += _templates(value, module, function, depth)
            case ast.AugAssign(target=ast.Name(id=given), value=value) if given == name:
                texts += _templates(value, module, function, depth)
            case ast.AnnAssign(target=ast.Name(id=given), value=ast.expr() as value) if given == name:
                texts += _templates(value, module, function, depth)
            case ast.NamedExpr(target=ast.Name(id=given), value=value) if given == name:
                texts += _templates(value, module, function, depth)
    if not texts and (found := module.constant(name)) is not None:
        there, value = found
        texts = _templates(value, there, None, depth)
    return texts


def _is_exception(name: str) -> bool:
    if isinstance(known := getattr(builtins, name, None), type):
        return issubclass(known, BaseException)
    return name in _exceptions()


@cache
def _exceptions() -> frozenset[str]:
    """The names of the package's exception classes, also of private ones."""
    bases = {
        node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef)
    }

    def is_one(name: str) -> bool:
        known = getattr(builtins, name, None)
        if isinstance(known, type) and issubclass(known, BaseException):
            return True
        return any(is_one(base) for base in bases.get(name, ()) if base != name)

    return frozenset(name for name in bases if is_one(name))


def _reported(call: ast.Call, raised: set[int]) -> list[ast.expr]:
    """The arguments of a call that may hold a message."""
    name = ast.unparse(call.func).rpartition(".")[2]
    owner = ast.unparse(call.func).rpartition(".")[0]
    if name in LOG_METHODS and ("log" in owner.lower()):
        return call.args[:2]
    if name in {"append", "insert"} and owner in LISTS:
        return call.args
    if _is_exception(name) or name in REPORTERS or name in {"kind", "type(error)"} or id(call) in raised:
        return [*call.args, *(each.value for each in call.keywords if each.arg in {"message", "problem"})]
    return []


def _parts(node: ast.AST) -> list[ast.expr]:
    """The expressions in a statement that may be a part of a message."""
    match node:
        case ast.Assert(msg=ast.expr() as message):
            return [message]
        case ast.Assign(targets=[ast.Attribute(attr="error" | "args")], value=value):
            return [value]
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name))], value=value) if name in REASONS:
            return [value]
        case ast.Assign(targets=[ast.Subscript(value=ast.Attribute(attr="advice"), slice=text)]):
            return [text]
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            return [
                value
                for name, value in zip(names, values, strict=False)
                if (isinstance(name, ast.Name) and name.id in PARTS)
                or (isinstance(name, ast.Attribute) and name.attr == "error")
            ]
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in PARTS:
            return [value]
        case ast.AugAssign(target=ast.Name(id=name), value=value) if name in LISTS:
            return [value]
        case ast.FunctionDef(name=name, returns=returns) if (
            PART_FUNCTION.search(name)
            or name == "__str__"
            or (returns and ast.unparse(returns) == "Iterator[str]")
        ):
            return [
                each.value
                for each in ast.walk(node)
                if isinstance(each, ast.Return | ast.Yield | ast.YieldFrom) and each.value is not None
            ]
    return []


def found() -> Iterator[Message]:
    """Each message of the package, in the order of the code."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield from found_in(path)


def found_in(path: Path) -> Iterator[Message]:
    """Each message of a module."""
    module = _Module(path)
    raised = {id(node.exc) for node in ast.walk(module.tree) if isinstance(node, ast.Raise)}
    functions: dict[int, ast.AST] = {}
    for function in ast.walk(module.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            functions |= {id(node): function for node in ast.walk(function)}
    for node in ast.walk(module.tree):
        kind, arguments = "", _parts(node)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            kind, arguments = name if _is_exception(name) else "", _reported(node, raised)
        for argument in arguments:
            for text in _templates(argument, module, functions.get(id(node), node)):
                if has_words(text := normalized(text)):
                    yield Message(text, f"{path.name}:{argument.lineno}", kind)


@dataclass(frozen=True)
class Entry:
    """An entry of a page: its messages, and what the page says about them."""

    page: str
    messages: tuple[str, ...]
    text: str

    @property
    def patterns(self) -> list[re.Pattern[str]]:
        """What a real message looks like, with anything in the place of an ellipsis."""
        parts = ([re.escape(part) for part in each.split(PLACEHOLDER)] for each in self.messages)
        return [re.compile(".*".join(each), re.DOTALL) for each in parts]


def entries(page: Path) -> Iterator[Entry]:
    """The entries of a page: lines of one code span each, and below them the line that begins with a colon."""
    for found in re.finditer(r"((?:^`(?!``).+`\n)+)(?:: +(.+)\n)?", page.read_text("utf-8"), re.MULTILINE):
        lines = (line.strip("`").strip() for line in found[1].splitlines())
        yield Entry(page.name, tuple(lines), found[2] or "")
