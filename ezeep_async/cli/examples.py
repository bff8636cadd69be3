"""The examples at the end of each help. A test runs them against a sandbox, in this order.

Lines that begin with four spaces are commands, other lines are text. `print` needs files, so its examples stand behind those
that write some.
"""

from __future__ import annotations

from collections.abc import Sequence


EXAMPLES = {
    "": """
    ezeep login
    ezeep groups list
    ezeep users groups anna@example.com --add Sales

The same without an account, in a sandbox that ends with the command:

    ezeep groups list --sandbox
""",
    "login": """
    ezeep login
    ezeep login --device
    ezeep login --profile customer-a --scope "printing webhooks reporting"
""",
    "whoami": """
    ezeep whoami
    ezeep whoami --json
""",
    "refresh": """
    ezeep refresh
    ezeep refresh --if-older-than 900
""",
    "keep-alive": """
    ezeep keep-alive
    ezeep keep-alive --install

In a folder of its own, with a refresh every five minutes:

    ezeep keep-alive --token-file login.json --interval 300
""",
    "profiles": """
    ezeep profiles
    ezeep profiles --json
    ezeep groups list --profile customer-a
""",
    "demo": """
    ezeep demo
    ezeep demo --plain
""",
    "sandbox": """
    ezeep sandbox
    ezeep sandbox --token-file login.json --port 8500
""",
    "groups": """
    ezeep groups list
    ezeep groups create "Night shift"
    ezeep groups members Sales --json
""",
    "groups list": """
    ezeep groups list
    ezeep groups list --json
""",
    "groups show": """
    ezeep groups show Sales
    ezeep groups show Sales --json
""",
    "groups create": """
    ezeep groups create "Night shift"
""",
    "groups rename": """
    ezeep groups rename "Night shift" "Late shift"
""",
    "groups delete": """
    ezeep groups delete "Late shift"
    ezeep groups delete "Late shift" --yes
""",
    "groups members": """
    ezeep groups members Sales
    ezeep groups members Sales --json
""",
    "users": """
    ezeep users list --group Sales
    ezeep users groups anna@example.com --add Sales --remove Reception
    ezeep users invite bert@example.com
""",
    "users list": """
    ezeep users list
    ezeep users list --group Sales --json
""",
    "users show": """
    ezeep users show anna@example.com
""",
    "users groups": """
    ezeep users groups anna@example.com
    ezeep users groups anna@example.com --add Sales --remove Reception
""",
    "users invite": """
    ezeep users invite bert@example.com clara@example.com
    ezeep users invite bert@example.com --days 7 --json
""",
    "users delete": """
    ezeep users delete anna@example.com
    ezeep users delete anna@example.com dora@example.com --yes --json
""",
    "invitations": """
    ezeep invitations list
    ezeep invitations resend bert@example.com
""",
    "invitations list": """
    ezeep invitations list
    ezeep invitations list --status OPEN --json
""",
    "invitations resend": """
    ezeep invitations resend bert@example.com
""",
    "export": """
    ezeep export --out people.csv
    ezeep export --out people.csv --printers printers.csv
    ezeep export --excel --out people.csv
""",
    "provision": """Export the groups, edit the file, show the difference, apply it, and undo it:

    ezeep export --out people.csv
    ezeep provision plan people.csv --mode exact
    ezeep provision apply people.csv --mode exact
    ezeep provision undo AUDIT_LOG

The same with the printers of the groups, and a page for the person who approves the plan:

    ezeep export --out people.csv --printers printers.csv
    ezeep provision plan people.csv --printers printers.csv --html plan.html --out plan.json
    ezeep provision apply plan.json

With --sandbox each command runs in a sandbox of its own.""",
    "provision plan": """
    ezeep provision plan people.csv
    ezeep provision plan people.csv --mode exact --out plan.json --html plan.html
    ezeep provision plan people.csv --ignore-columns "Department,Notes" --encoding cp1252
""",
    "provision apply": """
    ezeep provision apply people.csv
    ezeep provision apply plan.json --yes --report report.csv --audit-log audit.jsonl
""",
    "provision undo": """
    ezeep provision undo audit.jsonl --dry-run
    ezeep provision undo audit.jsonl
""",
    "provision log": """
    ezeep provision log
    ezeep provision log audit.jsonl
    ezeep provision log --last 5 --json
""",
    "printers": """
    ezeep printers list
    ezeep printers show "Front desk laser"
""",
    "printers list": """
    ezeep printers list
    ezeep printers list --json
""",
    "printers show": """
    ezeep printers show "Front desk laser"
""",
    "print": """
    ezeep print invoice.pdf letter.txt --printer "Front desk laser"
    ezeep print invoice.pdf --printer "Front desk laser" --copies 2 --duplex long-edge --paper A4
    ezeep print - --type txt --printer "Front desk laser" --no-wait
""",
    "jobs": """
    ezeep jobs status JOB --wait
    ezeep jobs queued
""",
    "jobs status": """
    ezeep jobs status JOB
    ezeep jobs status JOB --wait --timeout 300
""",
    "jobs queued": """
    ezeep jobs queued
    ezeep jobs queued --json
""",
    "assignments": """
    ezeep assignments list
    ezeep assignments add "Front desk laser" Sales
""",
    "assignments list": """
    ezeep assignments list
    ezeep assignments list --group Sales --json
""",
    "assignments add": """
    ezeep assignments add "Front desk laser" Sales Reception
""",
    "assignments remove": """
    ezeep assignments remove "Front desk laser" Reception
""",
    "connectors": """
    ezeep connectors
    ezeep connectors --type TPHub --json
""",
    "webhooks": """
    ezeep webhooks list
    ezeep webhooks create "Print log" https://print-log.example.com/ezeep
""",
    "webhooks list": """
    ezeep webhooks list
    ezeep webhooks list --json
""",
    "webhooks create": """
    ezeep webhooks create "Print log" https://print-log.example.com/ezeep
    ezeep webhooks create Failures https://print-log.example.com/ezeep --topic printjob_failed --username ezeep
""",
    "webhooks delete": """
    ezeep webhooks delete WEBHOOK
    ezeep webhooks delete WEBHOOK --yes
""",
    "reports": """
    ezeep reports create --month 2026-10 --out report.csv
""",
    "reports create": """
    ezeep reports create --month 2026-10 --out report.csv
    ezeep reports create --start 2026-10-01 --end 2026-11-01 --names --emails --out report.csv
""",
    "api": """
    ezeep api GET "/printing/v1/groups/?limit=5"
    ezeep api GET /printing/v1/connectors/
""",
    "logout": """
    ezeep logout
    ezeep logout --forget
""",
    "--install-completion": """
    ezeep --install-completion
    ezeep --install-completion --shell zsh
""",
    "--show-completion": """
    ezeep --show-completion --shell bash
""",
}
"""By the words after `ezeep`."""


def examples_of(names: Sequence[str]) -> str:
    """The examples of a command; empty if it has none."""
    return EXAMPLES.get(" ".join(names), "").strip("\n")
