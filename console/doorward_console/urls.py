"""Addresses of the console, by who answers them."""

from django.urls import URLPattern, URLResolver, include, path

from doorward_console.api import api
from doorward_console.fleet.views import join_device
from doorward_console.health import healthz, readyz, version

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/join", join_device, name="join"),
    path("api/v1/", api.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("version", version, name="version"),
    path("", include("doorward_console.pages.urls")),
]

handler400 = "doorward_console.pages.views.errors.bad_request"
handler403 = "doorward_console.pages.views.errors.forbidden"
handler404 = "doorward_console.pages.views.errors.not_found"
handler500 = "doorward_console.pages.views.errors.server_error"
