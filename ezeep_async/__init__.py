"""The Python SDK for ezeep Blue: `EzeepSession` for asyncio, and `run_sync` for blocking calls."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from ezeep_async.version import __version__


if TYPE_CHECKING:
    from ezeep_async._http.stats import Stats
    from ezeep_async._runtime.signals import finish_refresh_on
    from ezeep_async.auth.app import AuthorizationRequest, OAuthApp
    from ezeep_async.auth.keep_alive import KeepAlive, KeepAliveState
    from ezeep_async.auth.oauth import OAuth, OAuthLogin, Pairing
    from ezeep_async.auth.shared_locks import HeldLock, SharedLocks
    from ezeep_async.auth.stores.file import FileTokenStore
    from ezeep_async.auth.stores.keyring import KeyringTokenStore
    from ezeep_async.auth.stores.readonly import ReadOnlyTokens
    from ezeep_async.auth.stores.redis import RedisTokenStore
    from ezeep_async.auth.stores.sql import SQLTokenStore
    from ezeep_async.auth.tokens import MemoryTokenStore, TokenSet, TokenStore
    from ezeep_async.blocking.descriptors import BlockingPaginator
    from ezeep_async.blocking.pool import BlockingOAuthLogin, BlockingSessionPool
    from ezeep_async.blocking.printing import BlockingPrinting, BlockingPrintJob
    from ezeep_async.blocking.session import (
        BlockingAccounts,
        BlockingConnectors,
        BlockingDrivers,
        BlockingGroups,
        BlockingInvitations,
        BlockingOAuth,
        BlockingPeople,
        BlockingPrinterAssignments,
        BlockingPrinters,
        BlockingProvisioning,
        BlockingReports,
        BlockingSession,
        BlockingUsers,
        BlockingWebhooks,
    )
    from ezeep_async.blocking.twin import run_sync
    from ezeep_async.errors import (
        AmbiguousName,
        ApiError,
        AuditLogError,
        AuthenticationError,
        AuthorizationDenied,
        BadRequest,
        BlockingCallError,
        ConcurrentModification,
        Conflict,
        ConnectFailed,
        Disconnected,
        ExternalGroup,
        EzeepError,
        InconsistentListing,
        InsecureEndpoint,
        InvalidLoginCookie,
        JobTimeout,
        MissingPeople,
        NotFound,
        OutcomeUnknown,
        PaginationLoop,
        PairingTimeout,
        PermissionDenied,
        PrintFailed,
        RateLimited,
        ReauthorizationRequired,
        RequestTimeout,
        SafetyLimitExceeded,
        ServerError,
        SessionClosed,
        Sought,
        StalePlan,
        StateMismatch,
        TokenPersistError,
        TokenStoreCorrupt,
        TokenStoreError,
        TransientAuthError,
        TransportError,
        UnexpectedRedirect,
        UnexpectedResponse,
        UnsupportedFileType,
        UnsupportedOption,
        UploadExpired,
        is_retryable,
    )
    from ezeep_async.models.accounts import AccountUser, Invitation
    from ezeep_async.models.assignments import AssignedGroup, Assignment, PrinterAssignment
    from ezeep_async.models.connectors import Connector, Driver
    from ezeep_async.models.groups import Group, Origin
    from ezeep_async.models.people import Person
    from ezeep_async.models.printers import PaperFormat, Printer, PrinterProperties, Tray
    from ezeep_async.models.printing import Duplex, JobStatus, Orientation, PrintOptions, QueuedJob
    from ezeep_async.models.reconciled import Reconciled
    from ezeep_async.models.record import Record
    from ezeep_async.models.reports import PrintReport
    from ezeep_async.models.unset import UNSET, Unset
    from ezeep_async.models.users import GroupRef, User
    from ezeep_async.models.webhooks import Webhook, WebhookEvent, WebhookPrintJob
    from ezeep_async.pagination.paginator import Paginator
    from ezeep_async.pagination.reader import Page
    from ezeep_async.pool import PoolStats, SessionPool
    from ezeep_async.provisioning.inputs.desired import DesiredState
    from ezeep_async.provisioning.inputs.problems import InvalidInput
    from ezeep_async.provisioning.plans.plan import Plan
    from ezeep_async.provisioning.runs.report import ProvisioningFailed, Report, report_of
    from ezeep_async.provisioning.service import Provisioning
    from ezeep_async.resources._sources import PrintSource, Progress
    from ezeep_async.resources.accounts import Accounts
    from ezeep_async.resources.assignments import PrinterAssignments
    from ezeep_async.resources.connectors import Connectors, Drivers
    from ezeep_async.resources.groups import GroupFields, Groups
    from ezeep_async.resources.invitations import Invitations
    from ezeep_async.resources.people import People
    from ezeep_async.resources.printers import Printers
    from ezeep_async.resources.printing import AcceptedJob, Printing, PrintJob
    from ezeep_async.resources.reports import ReportFailed, Reports, ReportTimeout
    from ezeep_async.resources.users import Users
    from ezeep_async.resources.webhooks import Webhooks
    from ezeep_async.session import EzeepSession, SessionOptions
    from ezeep_async.settings import CallOptions, CoolDownChannel, Endpoints, Settings
    from ezeep_async.shared_pace import SharedPace

# Without it, a program that configures no logging would print each logged error through `logging.lastResort`.
logging.getLogger("ezeep_async").addHandler(logging.NullHandler())

__all__ = [
    "UNSET",
    "AcceptedJob",
    "AccountUser",
    "Accounts",
    "AmbiguousName",
    "ApiError",
    "AssignedGroup",
    "Assignment",
    "AuditLogError",
    "AuthenticationError",
    "AuthorizationDenied",
    "AuthorizationRequest",
    "BadRequest",
    "BlockingAccounts",
    "BlockingCallError",
    "BlockingConnectors",
    "BlockingDrivers",
    "BlockingGroups",
    "BlockingInvitations",
    "BlockingOAuth",
    "BlockingOAuthLogin",
    "BlockingPaginator",
    "BlockingPeople",
    "BlockingPrintJob",
    "BlockingPrinterAssignments",
    "BlockingPrinters",
    "BlockingPrinting",
    "BlockingProvisioning",
    "BlockingReports",
    "BlockingSession",
    "BlockingSessionPool",
    "BlockingUsers",
    "BlockingWebhooks",
    "CallOptions",
    "ConcurrentModification",
    "Conflict",
    "ConnectFailed",
    "Connector",
    "Connectors",
    "CoolDownChannel",
    "DesiredState",
    "Disconnected",
    "Driver",
    "Drivers",
    "Duplex",
    "Endpoints",
    "ExternalGroup",
    "EzeepError",
    "EzeepSession",
    "FileTokenStore",
    "Group",
    "GroupFields",
    "GroupRef",
    "Groups",
    "HeldLock",
    "InconsistentListing",
    "InsecureEndpoint",
    "InvalidInput",
    "InvalidLoginCookie",
    "Invitation",
    "Invitations",
    "JobStatus",
    "JobTimeout",
    "KeepAlive",
    "KeepAliveState",
    "KeyringTokenStore",
    "MemoryTokenStore",
    "MissingPeople",
    "NotFound",
    "OAuth",
    "OAuthApp",
    "OAuthLogin",
    "Orientation",
    "Origin",
    "OutcomeUnknown",
    "Page",
    "PaginationLoop",
    "Paginator",
    "Pairing",
    "PairingTimeout",
    "PaperFormat",
    "People",
    "PermissionDenied",
    "Person",
    "Plan",
    "PoolStats",
    "PrintFailed",
    "PrintJob",
    "PrintOptions",
    "PrintReport",
    "PrintSource",
    "Printer",
    "PrinterAssignment",
    "PrinterAssignments",
    "PrinterProperties",
    "Printers",
    "Printing",
    "Progress",
    "Provisioning",
    "ProvisioningFailed",
    "QueuedJob",
    "RateLimited",
    "ReadOnlyTokens",
    "ReauthorizationRequired",
    "Reconciled",
    "Record",
    "RedisTokenStore",
    "Report",
    "ReportFailed",
    "ReportTimeout",
    "Reports",
    "RequestTimeout",
    "SQLTokenStore",
    "SafetyLimitExceeded",
    "ServerError",
    "SessionClosed",
    "SessionOptions",
    "SessionPool",
    "Settings",
    "SharedLocks",
    "SharedPace",
    "Sought",
    "StalePlan",
    "StateMismatch",
    "Stats",
    "TokenPersistError",
    "TokenSet",
    "TokenStore",
    "TokenStoreCorrupt",
    "TokenStoreError",
    "TransientAuthError",
    "TransportError",
    "Tray",
    "UnexpectedRedirect",
    "UnexpectedResponse",
    "Unset",
    "UnsupportedFileType",
    "UnsupportedOption",
    "UploadExpired",
    "User",
    "Users",
    "Webhook",
    "WebhookEvent",
    "WebhookPrintJob",
    "Webhooks",
    "__version__",
    "finish_refresh_on",
    "is_retryable",
    "report_of",
    "run_sync",
]

# A public name is imported when it is first used (PEP 562), so that a program pays only for the parts it uses.
_NAMES = {
    "_http.stats": "Stats",
    "_runtime.signals": "finish_refresh_on",
    "auth.app": "AuthorizationRequest OAuthApp",
    "auth.keep_alive": "KeepAlive KeepAliveState",
    "auth.oauth": "OAuth OAuthLogin Pairing",
    "auth.shared_locks": "HeldLock SharedLocks",
    "auth.stores.file": "FileTokenStore",
    "auth.stores.keyring": "KeyringTokenStore",
    "auth.stores.readonly": "ReadOnlyTokens",
    "auth.stores.redis": "RedisTokenStore",
    "auth.stores.sql": "SQLTokenStore",
    "auth.tokens": "MemoryTokenStore TokenSet TokenStore",
    "blocking.descriptors": "BlockingPaginator",
    "blocking.pool": "BlockingOAuthLogin BlockingSessionPool",
    "blocking.printing": "BlockingPrintJob BlockingPrinting",
    "blocking.session": "BlockingAccounts BlockingConnectors BlockingDrivers BlockingGroups BlockingInvitations BlockingOAuth BlockingPeople BlockingPrinterAssignments BlockingPrinters BlockingProvisioning BlockingReports BlockingSession BlockingUsers BlockingWebhooks",
    "blocking.twin": "run_sync",
    "errors": "AmbiguousName ApiError AuditLogError AuthenticationError AuthorizationDenied BadRequest BlockingCallError ConcurrentModification Conflict ConnectFailed Disconnected ExternalGroup EzeepError InconsistentListing InsecureEndpoint InvalidLoginCookie JobTimeout MissingPeople NotFound OutcomeUnknown PaginationLoop PairingTimeout PermissionDenied PrintFailed RateLimited ReauthorizationRequired RequestTimeout SafetyLimitExceeded ServerError SessionClosed Sought StalePlan StateMismatch TokenPersistError TokenStoreCorrupt TokenStoreError TransientAuthError TransportError UnexpectedRedirect UnexpectedResponse UnsupportedFileType UnsupportedOption UploadExpired is_retryable",
    "models.accounts": "AccountUser Invitation",
    "models.assignments": "AssignedGroup Assignment PrinterAssignment",
    "models.connectors": "Connector Driver",
    "models.groups": "Group Origin",
    "models.people": "Person",
    "models.printers": "PaperFormat Printer PrinterProperties Tray",
    "models.printing": "Duplex JobStatus Orientation PrintOptions QueuedJob",
    "models.reconciled": "Reconciled",
    "models.record": "Record",
    "models.reports": "PrintReport",
    "models.unset": "UNSET Unset",
    "models.users": "GroupRef User",
    "models.webhooks": "Webhook WebhookEvent WebhookPrintJob",
    "pagination.paginator": "Paginator",
    "pagination.reader": "Page",
    "pool": "PoolStats SessionPool",
    "provisioning.inputs.desired": "DesiredState",
    "provisioning.inputs.problems": "InvalidInput",
    "provisioning.plans.plan": "Plan",
    "provisioning.runs.report": "ProvisioningFailed Report report_of",
    "provisioning.service": "Provisioning",
    "resources._sources": "PrintSource Progress",
    "resources.accounts": "Accounts",
    "resources.assignments": "PrinterAssignments",
    "resources.connectors": "Connectors Drivers",
    "resources.groups": "GroupFields Groups",
    "resources.invitations": "Invitations",
    "resources.people": "People",
    "resources.printers": "Printers",
    "resources.printing": "AcceptedJob PrintJob Printing",
    "resources.reports": "ReportFailed ReportTimeout Reports",
    "resources.users": "Users",
    "resources.webhooks": "Webhooks",
    "session": "EzeepSession SessionOptions",
    "settings": "CallOptions CoolDownChannel Endpoints Settings",
    "shared_pace": "SharedPace",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name in ("errors", "provisioning"):  # `import ezeep_async` alone has always been enough for them
        return import_module(f"{__name__}.{name}")
    if (module := _MODULES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
