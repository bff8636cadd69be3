"""Plans to plain values and back. Imported when a plan is saved or read: cattrs is slow to import."""

from __future__ import annotations

from ezeep_async._wire.structuring import register_union, structure, unstructure
from ezeep_async.provisioning.plans.changes import KINDS, Change


__all__ = ["structure", "unstructure"]

register_union(Change, "kind", KINDS)
