"""Django: people log in with ezeep, see the groups of their organization, add members, and print once.

pip install 'ezeep_async[sql,web]' aiosqlite django gunicorn uvicorn
python manage.py migrate
gunicorn --workers 2 --timeout 120 wsgi:application # all views but those below /async
uvicorn --no-access-log asgi:application            # all views
python manage.py ezeep_groups USER_ID

Environment: EZEEP_CLIENT_ID, EZEEP_REDIRECT_URI (this server's /callback), SECRET_KEY, TOKEN_KEY
(cryptography.fernet.Fernet.generate_key()), DATABASE (the path of an SQLite file), LARGEST_DOCUMENT (in bytes; 100 MB).
DJANGO_SETTINGS_MODULE=settings_users: the site has users of its own, who connect with ezeep.
"""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    execute_from_command_line(sys.argv)
