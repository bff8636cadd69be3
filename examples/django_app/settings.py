"""Settings of the Django project."""

from __future__ import annotations

import os
from pathlib import Path


SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["django.contrib.sessions", "printing"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "printing.errors.EzeepErrors",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = os.environ["EZEEP_REDIRECT_URI"].startswith("https:")
DATABASE = Path(os.environ.get("DATABASE", "db.sqlite3")).absolute()
# With WAL, reads do not wait for a write. A transaction that is going to write takes the lock at its start.
SQLITE = {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE"}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE, "OPTIONS": SQLITE}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
LOGGED_IN = "printing.sign_in.logged_in"
LARGEST_DOCUMENT = int(os.environ.get("LARGEST_DOCUMENT", "100_000_000"))
