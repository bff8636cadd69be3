"""`compare_printers`: the changes of assignments, without I/O."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

import attrs

from ezeep_async._wire.group_names import shown
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.provisioning.inputs.problems import PROBLEMS_SHOWN, InvalidInput, Problem
from ezeep_async.provisioning.names import is_hyphenated_uuid, normalize_printer, shortened
from ezeep_async.provisioning.plans.changes import ChangeAssignments, HeldBack, TargetGroup, described
from ezeep_async.provisioning.wording import some


SIMILAR_SHOWN = 3
"""Close matches of an unknown name in its message."""
NAMES_SEARCHED = 20_000
"""Names that are compared for close matches, for all messages together. 10 000 take about 0.3 s."""


@attrs.frozen
class PrinterChanges:
    """The printers' part of a plan."""

    changes: tuple[ChangeAssignments, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    wanted: Mapping[UUID, frozenset[UUID]] = attrs.field(factory=dict[UUID, frozenset[UUID]])
    """Ids of the named groups that exist, to the ids of their printers after the run."""
    count: int = 0
    """Number of distinct assignments in the input."""
    count_now: int = 0
    """Number of assignments of the named groups."""
    notes: tuple[str, ...] = ()
    """For each name of several printers: which of them the plan changes."""


def compare_printers(
    desired: Mapping[str, Sequence[str]],
    printers: Sequence[PrinterAssignment],
    targets: Mapping[str, TargetGroup],
    protected: Mapping[UUID, str],
    *,
    exact: bool,
) -> PrinterChanges:
    """Return the changes that give each group its printers: one change for each printer.

    Args:
        desired: Group names to names and ids of printers.
        printers: All printers of the organization.
        targets: The groups of the input by name.
        protected: Ids of groups that lose no printer, with the reason.
        exact: Whether the groups lose the printers that are not desired.

    Raises:
        InvalidInput: Printers are unknown, or their names ambiguous. `problems` lists all of them.
    """
    if not desired:
        return PrinterChanges()
    found = _find_printers(desired, printers)
    named = {target.id: target for name in desired if (target := targets[name]).id is not None}
    order = {group_id: position for position, group_id in enumerate(named)}
    wanted = {group_id: set[UUID]() for group_id in named}
    groups_of: dict[UUID, dict[TargetGroup, None]] = {}
    count = 0
    for name, texts in desired.items():
        target = targets[name]
        ids = dict.fromkeys(found[text] for text in texts)
        count += len(ids)
        if target.id is not None:
            wanted[target.id].update(ids)
        for printer_id in ids:
            groups_of.setdefault(printer_id, {})[target] = None
    changes: list[ChangeAssignments] = []
    held_back: list[HeldBack] = []
    for printer in printers:
        before, label = printer.group_ids, printer.printer_name or str(printer.id)
        add = tuple(target for target in groups_of.get(printer.id, ()) if target.id not in before)
        remove: list[TargetGroup] = []
        for group_id in sorted(before & named.keys(), key=order.__getitem__) if exact else ():
            if printer.id in wanted[group_id]:
                continue
            if reason := protected.get(group_id):
                held_back.append(HeldBack(label, named[group_id].name, reason))
                wanted[group_id].add(printer.id)
            else:
                remove.append(named[group_id])
        if add or remove:
            changes.append(ChangeAssignments(printer.id, label, add, tuple(remove), before))
    return PrinterChanges(
        tuple(changes),
        tuple(held_back),
        {group_id: frozenset(ids) for group_id, ids in wanted.items()},
        count,
        count_assignments(printers, named),
        tuple(_namesake_notes(changes, printers)),
    )


def _namesake_notes(
    changes: Sequence[ChangeAssignments], printers: Iterable[PrinterAssignment]
) -> Iterator[str]:
    """Tell printers of one name apart: changes are shown with the names of printers."""
    if not changes:
        return
    times = Counter(normalize_printer(printer.printer_name) for printer in printers)
    namesakes: dict[str, list[str]] = {}
    for change in changes:
        name = normalize_printer(change.printer)
        if times[name] > 1:
            namesakes.setdefault(name, []).append(
                f"{change.printer_id} ({described(change.add, change.remove)})"
            )
    for name, changed in namesakes.items():
        yield (
            f"{times[name]} printers have the name {shown(shortened(name))}. The plan changes {some(changed)}"
        )


def count_assignments(printers: Iterable[PrinterAssignment], groups: Iterable[UUID]) -> int:
    """Count the assignments of these groups."""
    ids = frozenset(groups)
    return sum(len(printer.group_ids & ids) for printer in printers)


def _find_printers(
    desired: Mapping[str, Sequence[str]], printers: Sequence[PrinterAssignment]
) -> dict[str, UUID]:
    """Map the names and ids of the input to ids. Raises `InvalidInput`."""
    by_text: dict[str, list[UUID]] = {}
    for printer in printers:
        by_text.setdefault(normalize_printer(printer.printer_name), []).append(printer.id)
    # An id is that of a printer, also if another printer has it as its name.
    by_text.update({str(printer.id): [printer.id] for printer in printers})
    groups: dict[str, list[str]] = {}
    for name, texts in desired.items():
        for text in texts:
            groups.setdefault(text, []).append(name)
    unfit = {text: ids for text in groups if len(ids := by_text.get(text, [])) != 1}
    if unfit:
        problems = list(_problems(unfit, groups, [printer.printer_name for printer in printers]))
        raise InvalidInput(problems)
    return {text: by_text[text][0] for text in groups}


def _problems(
    unfit: Mapping[str, Sequence[UUID]], groups: Mapping[str, Sequence[str]], names: Iterable[str]
) -> Iterator[Problem]:
    folded = {name.casefold(): name for name in names}
    searches = min(PROBLEMS_SHOWN, max(1, NAMES_SEARCHED // max(1, len(folded))))
    for number, (text, ids) in enumerate(unfit.items()):
        place = f"(for {some([repr(shortened(name)) for name in groups[text]], SIMILAR_SHOWN)})"
        if ids:
            message = f"{len(ids)} printers have the name {shortened(text)!r} {place}: use an id, {some([*map(str, ids)])}"
        elif is_hyphenated_uuid(text):
            message = f"no printer has the id {text} {place}"
        else:
            message = f"no printer has the name {shortened(text)!r} {place}"
            # The search takes long, and blocks. No message has more problems than `PROBLEMS_SHOWN`.
            if number < searches and (
                alike := difflib.get_close_matches(text.casefold(), folded, SIMILAR_SHOWN)
            ):
                message += f"; similar: {', '.join(repr(shortened(folded[each])) for each in alike)}"
        yield Problem("input", None, message)
