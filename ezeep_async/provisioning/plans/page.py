"""A plan as one HTML page, for the person who approves it. Imported when a page is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import attrs

from ezeep_async._wire.group_names import shown
from ezeep_async.errors import SafetyLimitExceeded
from ezeep_async.provisioning.names import fold
from ezeep_async.provisioning.plans.changes import (
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    HeldBack,
    InvitePerson,
    Regrouping,
)
from ezeep_async.provisioning.wording import counted, some


if TYPE_CHECKING:
    from ezeep_async.provisioning.plans.plan import Plan


MINUS = "\N{MINUS SIGN}"

_MODES = {
    "add": "<b>add</b> \N{EN DASH} nothing is removed from a group",
    "exact": "<b>exact</b> \N{EN DASH} the groups of the input keep only the members and printers of the input",
    "undo": "<b>undo</b> \N{EN DASH} reverts an earlier run",
}

_STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --soft: #5a6270; --line: #d4d9e0; --back: #fff; --card: #f6f8fa;
  --add: #11632a; --add-back: #e3f5e7; --del: #a3161a; --del-back: #fdeaea; --warn: #7a4d00; --warn-back: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ed; --soft: #a3acb8; --line: #3a414b; --back: #14171b;
  --card: #1c2026; --add: #7bd991; --add-back: #14301c; --del: #ff9d99; --del-back: #3d1a1b; --warn: #f3c969;
  --warn-back: #362a10; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.2rem; margin: 0; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: .9rem 0 .3rem; }
section { margin-top: 2rem; }
.group { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem 1.25rem; margin-top: 1rem;
  background: var(--card); }
.soft { color: var(--soft); }
.lead { margin: .4rem 0 0; font-size: 1.05rem; }
.box { border-left: .3rem solid; border-radius: .3rem; padding: .7rem 1rem; margin: 1.25rem 0 0; }
.fine { background: var(--add-back); border-color: var(--add); }
.refused { background: var(--del-back); border-color: var(--del); }
.notes { background: var(--warn-back); border-color: var(--warn); }
.notes ul { margin: .2rem 0 0; padding-left: 1.2rem; }
table { border-collapse: collapse; width: 100%; margin-top: 1rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
th:first-child { text-align: left; white-space: normal; overflow-wrap: break-word; min-width: 9rem; max-width: 24rem; }
tbody th { font-weight: 400; }
.scroll { overflow-x: auto; }
a { color: inherit; }
.items { list-style: none; margin: 0; padding: 0; columns: 19rem; column-gap: 1.5rem; }
.items li { break-inside: avoid; padding: .1rem 0 .1rem 1.6rem; text-indent: -1.6rem; overflow-wrap: anywhere; }
ins, del { text-decoration: none; }
ins { color: var(--add); } del { color: var(--del); }
.sign { display: inline-block; width: 1.25rem; margin-right: .35rem; text-indent: 0; text-align: center;
  border-radius: .2rem; font-weight: 700; }
ins .sign { background: var(--add-back); } del .sign { background: var(--del-back); }
.held .sign { background: var(--warn-back); color: var(--warn); }
.badge { font-size: .8rem; font-weight: 600; border: 1px solid; border-radius: 1rem; padding: .05rem .6rem;
  margin-left: .5rem; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 1rem 0 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .8rem; font-size: .9rem; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; } dt { margin-top: .4rem; } th, td { padding: .35rem .4rem; } }
@media print { body { font-size: 11pt; } main { max-width: none; padding: 0; } .group { background: none; }
  h2, h3 { break-after: avoid; } thead { display: table-header-group; } a { text-decoration: none; } }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; form-action 'none'">
<title>Provisioning plan: {title}</title>
<style>{style}</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""


@attrs.define
class _Group:
    """What the plan does with one group."""

    name: str
    badge: str = ""
    members: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    """Signs and members."""
    printers: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    """Signs and printers."""
    held_back: list[HeldBack] = attrs.field(factory=list[HeldBack])


def plan_page(plan: Plan) -> str:
    """Return the page. It needs no other file, and runs no script."""
    groups = _groups(plan)
    content = [
        "<header>",
        "<h1>Provisioning plan</h1>",
        f'<p class="lead">{_text(plan.summary())}</p>',
        "</header>",
        _verdict(plan),
        _box("notes", "Read this first", plan.notes),
        _box("notes", "Typing errors?", plan.hints),
        _totals(plan),
        _rules(plan),
        _overview(groups),
        *_people(plan),
    ]
    if groups:
        content.append("<section><h2>Changes by group</h2>")
        content += [_group(group, number) for number, group in enumerate(groups, 1)]
        content.append("</section>")
    content.append(
        f'<footer class="soft"><ins>{_sign("+")}</ins> is added. <del>{_sign("-")}</del> is removed. <span class="held">'
        f"{_sign('!')}</span> stays, although the input does not have it. Everything that this page does not name is "
        "not changed.</footer>"
    )
    return _PAGE.format(title=_text(plan.summary()), style=_STYLE, content="\n".join(filter(None, content)))


def _groups(plan: Plan) -> list[_Group]:
    """The changes by group, in the order of their names."""
    found: dict[tuple[str, object], _Group] = {}
    by_name: dict[str, _Group] = {}

    def group_of(name: str, group_id: object) -> _Group:
        group = found.setdefault((name, group_id), _Group(name))
        by_name.setdefault(name, group)
        return group

    for change in plan.changes:
        if isinstance(change, CreateGroup):
            group_of(change.name, None).badge = "new group"
        elif isinstance(change, DeleteGroup):
            group_of(change.name, change.id).badge = "deleted, unless it is in use"
        elif isinstance(change, Regrouping):
            for sign, targets in (("-", change.remove), ("+", change.add)):
                for target in targets:
                    group = group_of(target.name, target.id)
                    items = group.members if isinstance(change, ChangeMemberships) else group.printers
                    items.append((sign, change.subject))
    for held in plan.held_back:
        (by_name.get(held.group) or group_of(held.group, None)).held_back.append(held)
    return sorted(found.values(), key=lambda group: fold(group.name))


def _verdict(plan: Plan) -> str:
    try:
        plan.check_limits()
    except SafetyLimitExceeded as error:
        groups = some([f"{number} from {name!r}" for name, number in error.by_group.items()])
        return (
            '<p class="box refused"><b>Not within the safety limits: apply refuses this plan.</b> It removes '
            f"{_text(error.what)}, and the limit is {error.limit}: {_text(groups)}.</p>"
        )
    if plan.is_empty:
        return '<p class="box fine"><b>Nothing to change.</b></p>'
    return '<p class="box fine"><b>Within the safety limits.</b> Nothing has been changed yet.</p>'


def _totals(plan: Plan) -> str:
    rows: list[tuple[str, int, int, str, str]] = []
    # A number counts for both kinds together, a share for each by itself.
    together = " in all" if plan.max_removals >= 1 and plan.has_members and plan.has_printers else ""
    for is_planned, name, added, removed, now, limit in (
        (
            plan.has_members,
            "Memberships",
            plan.additions,
            plan.removals,
            plan.members_now,
            plan.removal_limit,
        ),
        (
            plan.has_printers,
            "Printer assignments",
            plan.assignment_additions,
            plan.assignment_removals,
            plan.assignments_now,
            plan.assignment_removal_limit,
        ),
    ):
        if is_planned:
            is_undo = plan.mode == "undo"  # which has neither
            allowed = "" if is_undo else f"{limit}{together}"
            rows.append((name, added, removed, "" if is_undo else str(now), allowed))
    created = sum(isinstance(change, CreateGroup) for change in plan.changes)
    deleted = sum(isinstance(change, DeleteGroup) for change in plan.changes)
    invited = sum(isinstance(change, InvitePerson) for change in plan.changes)
    rows += [("Groups", created, deleted, "", "")] if created or deleted else []
    rows += [("Invitations", invited, 0, "", "")] if invited else []
    body = "".join(
        f'<tr><th scope="row">{name}</th><td>{_number("+", added)}</td><td>{_number("-", removed)}</td>'
        f"<td>{now}</td><td>{limit}</td></tr>"
        for name, added, removed, now, limit in rows
    )
    return (
        '<section><h2>Totals</h2><div class="scroll"><table class="totals"><thead><tr><th scope="col">What</th>'
        '<th scope="col">Added</th><th scope="col">Removed</th><th scope="col">Now</th>'
        f'<th scope="col">Removals allowed</th></tr></thead><tbody>{body}</tbody></table></div></section>'
    )


def _rules(plan: Plan) -> str:
    limit = (
        f"{plan.max_removals:.0f} in all"
        if plan.max_removals >= 1 or not plan.max_removals
        else f"{plan.max_removals * 100:.4g} % of what the groups have now, at least five of each kind"
    )
    external = "may be changed" if plan.allow_external else "their members are not changed"
    facts: list[tuple[str, str]] = [
        ("Mode", _MODES[plan.mode]),
        ("Made", f"{plan.made_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Removals allowed", limit),
        ("Groups of other directories", external),
    ]
    reasons = [*plan.kept_groups.values(), *plan.kept_users.values()]
    if reasons:
        kept = ", ".join(
            counted(len(many), noun)
            for many, noun in ((plan.kept_groups, "group"), (plan.kept_users, "user"))
            if many
        )
        facts.append(("Protected", f"{kept}: {_text(some([*dict.fromkeys(reasons)]))}"))
    body = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return f"<section><h2>Safety</h2><dl>{body}</dl></section>"


def _overview(groups: Sequence[_Group]) -> str:
    if len(groups) < 2:
        return ""
    has_printers = any(group.printers for group in groups)
    has_members = any(group.members for group in groups)
    has_held_back = any(group.held_back for group in groups)
    heads = [
        f'<th scope="col">{noun} {word}</th>'
        for noun, is_shown in (("Members", has_members), ("Printers", has_printers))
        if is_shown
        for word in ("added", "removed")
    ]
    heads += ['<th scope="col">Not removed</th>'] if has_held_back else []
    rows: list[str] = []
    for number, group in enumerate(groups, 1):
        cells = [
            f"<td>{_number(sign, _count(items, sign))}</td>"
            for items, is_shown in ((group.members, has_members), (group.printers, has_printers))
            if is_shown
            for sign in "+-"
        ]
        cells += [f"<td>{len(group.held_back) or _number('!', 0)}</td>"] if has_held_back else []
        rows.append(
            f'<tr><th scope="row"><a href="#group-{number}">{_name(group.name)}</a>{_badge(group)}</th>'
            f"{''.join(cells)}</tr>"
        )
    return (
        f'<section><h2>{counted(len(groups), "group")}</h2><div class="scroll"><table><thead><tr>'
        f'<th scope="col">Group</th>{"".join(heads)}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>'
    )


def _people(plan: Plan) -> Iterable[str]:
    invited = [("+", change.email) for change in plan.changes if isinstance(change, InvitePerson)]
    if invited:
        yield f'<section class="group"><h2>Invitations</h2>{_items(invited)}</section>'
    yield _box("notes", "Not in the organization, and skipped", plan.skipped)
    yield _box("notes", "Not users yet: a later plan adds them", plan.waiting)


def _group(group: _Group, number: int) -> str:
    parts = [f'<section class="group" id="group-{number}"><h2>{_name(group.name)}{_badge(group)}</h2>']
    for noun, items in (("Members", group.members), ("Printers", group.printers)):
        if items:
            counts = " ".join(_number(sign, many) for sign in "+-" if (many := _count(items, sign)))
            parts += [f"<h3>{noun} {counts}</h3>", _items(items)]
    if group.held_back:
        rows = "".join(
            f'<li class="held">{_sign("!")}{_name(held.member)} <span class="soft">({_text(held.reason)})</span></li>'
            for held in group.held_back
        )
        parts += [f'<h3>Not removed</h3><ul class="items">{rows}</ul>']
    if not group.members and not group.printers and not group.held_back:
        parts.append('<p class="soft">No members and no printers.</p>')
    parts.append("</section>")
    return "\n".join(parts)


def _items(items: Iterable[tuple[str, str]]) -> str:
    """A list, removals first."""
    rows: list[str] = []
    for sign, name in sorted(items, key=lambda item: (item[0] == "+", fold(item[1]))):
        tag = "ins" if sign == "+" else "del"
        rows.append(f"<li><{tag}>{_sign(sign)}{_name(name)}</{tag}></li>")
    return f'<ul class="items">{"".join(rows)}</ul>'


def _box(kind: str, title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    rows = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f'<div class="box {kind}"><b>{title}</b><ul>{rows}</ul></div>'


_SIGNS: Mapping[str, str] = {"+": "+", "-": MINUS, "!": "!"}


def _sign(sign: str) -> str:
    return f'<span class="sign">{_SIGNS[sign]}</span>'


def _number(sign: str, number: int) -> str:
    """A number with its sign, or a zero without one."""
    if not number:
        return '<span class="soft">0</span>'
    tag = "ins" if sign == "+" else "del"
    return f"<{tag}>{_SIGNS[sign]}{number}</{tag}>"


def _count(items: Iterable[tuple[str, str]], sign: str) -> int:
    return sum(each == sign for each, _ in items)


def _badge(group: _Group) -> str:
    return f' <span class="badge">{group.badge}</span>' if group.badge else ""


def _name(text: str) -> str:
    """A name from outside. It does not change the direction of the text around it."""
    return f"<bdi>{_text(text)}</bdi>"


def _text(text: str) -> str:
    """A text from outside, with escapes for what cannot be seen."""
    return escape(shown(text)[1:-1])
