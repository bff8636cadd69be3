"""Reports on printed jobs (docs/ezeep-api.md#reports)."""

from __future__ import annotations

from datetime import datetime

import attrs

from ezeep_async.models.record import Record


@attrs.frozen(kw_only=True)
class PrintReport(Record):
    """A report on printed jobs, which the server makes in the background."""

    # Text: the documented example is not a UUID.
    report_id: str
    status: str
    """"pending", then "succeeded". Other words are kept."""
    created: datetime | None = None
    """The server sends seven digits of a second; this has six."""
    start: str = ""
    """A date or a time, as it was sent. Inclusive."""
    end: str = ""
    """A date or a time, as it was sent. Exclusive."""
    format: str = ""
    csv_delimiter: str = ""
    timestamp_offset: int = 0
    """Hours between UTC and the times in the report."""
    file_name_obfuscated: bool = False
    user_email_blank: bool = False
    user_name_blank: bool = False
    user_id: str = ""

    @property
    def id(self) -> str:
        """The same as `report_id`."""
        return self.report_id
