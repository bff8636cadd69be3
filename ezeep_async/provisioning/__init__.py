"""Bring an organisation into line with a list of groups and members: read it, plan, apply, report."""

from __future__ import annotations

from ezeep_async.provisioning.apply import Event, apply_plan
from ezeep_async.provisioning.desired import DesiredState, InvalidInput, Problem
from ezeep_async.provisioning.plan import (
    AddToGroups,
    Change,
    CreateGroup,
    MissingPeople,
    Plan,
    TargetGroup,
    make_plan,
)
from ezeep_async.provisioning.report import ProvisioningFailed, Report, Row
from ezeep_async.provisioning.tables import write_csv


__all__ = [
    "AddToGroups",
    "Change",
    "CreateGroup",
    "DesiredState",
    "Event",
    "InvalidInput",
    "MissingPeople",
    "Plan",
    "Problem",
    "ProvisioningFailed",
    "Report",
    "Row",
    "TargetGroup",
    "apply_plan",
    "make_plan",
    "write_csv",
]
