"""Addresses. Those below /async need an ASGI server."""

from __future__ import annotations

from django.urls import path

from printing import async_views, print_views, sign_in, views


pages = [
    path("groups", views.groups),
    path("groups/<uuid:group_id>/members", views.add_member),
    path("print", print_views.print_document, name="print_form"),
    path("prints", print_views.prints, name="prints"),
    path("prints/<uuid:key>", print_views.print_status, name="print"),
    path("async/groups", async_views.groups),
    path("async/groups/<uuid:group_id>/members", async_views.add_member),
]
urlpatterns = [
    path("login", sign_in.login, name="ezeep_login"),
    path("callback", sign_in.callback),
    path("logout", sign_in.logout, name="logout"),
    *pages,
]
