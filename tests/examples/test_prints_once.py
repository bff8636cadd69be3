"""`examples/fastapi_app/prints.py`: each form is printed once, also if it is sent several times at once."""

from __future__ import annotations

import asyncio
import importlib.util
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from helpers.example_servers import EXAMPLES
from helpers.sql_databases import Database
from sqlalchemy.ext.asyncio import AsyncEngine

from ezeep_async import OutcomeUnknown, PrintFailed


pytestmark = pytest.mark.may_block
