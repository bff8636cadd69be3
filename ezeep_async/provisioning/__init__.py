"""Provision groups and memberships from a list: read it, plan, apply, report, undo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from ezeep_async.provisioning.inputs.csv_tables import write_csv
    from ezeep_async.provisioning.inputs.desired import DesiredState
    from ezeep_async.provisioning.inputs.problems import InvalidInput, Problem
    from ezeep_async.provisioning.names import normalize_email, normalize_group_name
    from ezeep_async.provisioning.plans.changes import (
        Change,
        ChangeAssignments,
        ChangeMemberships,
        CreateGroup,
        DeleteGroup,
        HeldBack,
        InvitePerson,
        TargetGroup,
    )
    from ezeep_async.provisioning.plans.compare import OnMissing
    from ezeep_async.provisioning.plans.plan import Mode, Plan
    from ezeep_async.provisioning.runs.apply import Event, OnEvent, Verify
    from ezeep_async.provisioning.runs.audit import AuditRecord, read_audit_log
    from ezeep_async.provisioning.runs.history import AuditedRun, AuditHistory, read_audit_history
    from ezeep_async.provisioning.runs.report import (
        AssignmentDifference,
        Difference,
        Line,
        Outcome,
        ProvisioningFailed,
        Report,
        Row,
        report_of,
    )
    from ezeep_async.provisioning.service import Provisioning

__all__ = [
    "AssignmentDifference",
    "AuditHistory",
    "AuditRecord",
    "AuditedRun",
    "Change",
    "ChangeAssignments",
    "ChangeMemberships",
    "CreateGroup",
    "DeleteGroup",
    "DesiredState",
    "Difference",
    "Event",
    "HeldBack",
    "InvalidInput",
    "InvitePerson",
    "Line",
    "Mode",
    "OnEvent",
    "OnMissing",
    "Outcome",
    "Plan",
    "Problem",
    "Provisioning",
    "ProvisioningFailed",
    "Report",
    "Row",
    "TargetGroup",
    "Verify",
    "normalize_email",
    "normalize_group_name",
    "read_audit_history",
    "read_audit_log",
    "report_of",
    "write_csv",
]

# As in the package's front: a name is imported when it is first used.
_NAMES = {
    "inputs.csv_tables": "write_csv",
    "inputs.desired": "DesiredState",
    "inputs.problems": "InvalidInput Problem",
    "names": "normalize_email normalize_group_name",
    "plans.changes": "Change ChangeAssignments ChangeMemberships CreateGroup DeleteGroup HeldBack InvitePerson TargetGroup",
    "plans.compare": "OnMissing",
    "plans.plan": "Mode Plan",
    "runs.apply": "Event OnEvent Verify",
    "runs.audit": "AuditRecord read_audit_log",
    "runs.history": "AuditHistory AuditedRun read_audit_history",
    "runs.report": "AssignmentDifference Difference Line Outcome ProvisioningFailed Report Row report_of",
    "service": "Provisioning",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if (module := _MODULES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
