"""Settings of a site with users of its own: DJANGO_SETTINGS_MODULE=settings_users."""

from settings import *  # noqa: F403
from settings import INSTALLED_APPS as APPS
from settings import MIDDLEWARE as BEFORE


INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", *APPS]
MIDDLEWARE = [*BEFORE[:-1], "django.contrib.auth.middleware.AuthenticationMiddleware", BEFORE[-1]]
ROOT_URLCONF = "urls_users"
LOGIN_URL = "/accounts/login"
LOGIN_REDIRECT_URL = "/print"
LOGGED_IN = "printing.users.logged_in"
