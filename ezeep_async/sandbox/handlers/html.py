"""The HTML that people see. Self-contained: no script, no font, no picture from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape


_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --muted: #5c6b7a; --card: #fff; --page: #eef2f6; --line: #ccd6e0;
  --accent: #0b6bcb; --warn: #a3251a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --muted: #a0adba; --card: #1b232c; --page: #11171d;
  --line: #3a4653; --accent: #5aa9f5; --warn: #ff9a8d; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 26rem; padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; }
h1 { margin: 0 0 .5rem; font-size: 1.4rem; line-height: 1.25; }
p { margin: 0 0 1rem; color: var(--muted); }
p.error { color: var(--warn); }
label { display: block; margin-bottom: .3rem; font-weight: 600; }
input { width: 100%; padding: .6rem .7rem; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--line); border-radius: .4rem; }
.buttons { display: flex; gap: .75rem; margin-top: 1.25rem; }
button { flex: 1; padding: .65rem; font: inherit; font-weight: 600; cursor: pointer; border-radius: .4rem;
  border: 1px solid var(--line); background: transparent; color: inherit; }
button[value=approve] { background: var(--accent); border-color: var(--accent); color: var(--card); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
small { display: block; margin-top: 1.5rem; color: var(--muted); }
"""


def _page(title: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{content}
<small>ezeep sandbox: nothing here reaches a real account or a real printer.</small>
</main>
</body>
</html>
"""


def message_page(title: str, sentence: str) -> str:
    """A page with one sentence."""
    return _page(title, f"<p>{escape(sentence)}</p>")


def consent_page(
    *,
    action: str,
    hidden: Mapping[str, str],
    username: str,
    suggestions: Sequence[str],
    pairing: bool,
    error: str = "",
) -> str:
    """The page that asks whether an application, or a device, may act for a person."""
    title = "Connect this device?" if pairing else "Allow this application?"
    asks = (
        f"A device with the code <strong>{escape(hidden.get('pairing_code', ''))}</strong> asks to print for you."
        if pairing
        else "An application asks to manage groups and users of your organization, in your name."
    )
    fields = "\n".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in hidden.items()
    )
    options = "".join(f'<option value="{escape(email)}">' for email in suggestions)
    complaint = f'<p class="error" role="alert">{escape(error)}</p>\n' if error else ""
    return _page(
        title,
        f"""<p>{asks}</p>
{complaint}<form method="post" action="{escape(action)}">
{fields}
<label for="username">Who is logged in</label>
<input id="username" name="username" type="email" list="people" autocomplete="username" required
 value="{escape(username)}">
<datalist id="people">{options}</datalist>
<div class="buttons">
<button name="decision" value="approve">Allow</button>
<button name="decision" value="deny" formnovalidate>Decline</button>
</div>
</form>""",
    )
