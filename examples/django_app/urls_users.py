"""Addresses of a site with users of its own."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from urls import pages

from printing import users


urlpatterns = [
    path("accounts/login", LoginView.as_view(template_name="printing/sign_in.html")),
    path("logout", LogoutView.as_view(next_page="/accounts/login"), name="logout"),
    path("login", users.connect, name="ezeep_login"),
    path("callback", users.callback),
    path("disconnect", users.disconnect),
    *pages,
]
