"""Addresses. Those below /async need an ASGI server."""

from __future__ import annotations

from django.urls import path

from printing import async_views, views


urlpatterns = [
    path("login", views.login),
    path("callback", views.callback),
    path("groups", views.groups),
    path("groups/<uuid:group_id>/members", views.add_member),
    path("print", views.print_document),
    path("jobs", views.job_status),
    path("async/groups", async_views.groups),
    path("async/groups/<uuid:group_id>/members", async_views.add_member),
]
