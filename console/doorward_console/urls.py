"""Addresses of the console, by who answers them."""

from django.urls import URLPattern, URLResolver, path

from doorward_console.fleet.views import join_device

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/join", join_device, name="join"),
]
