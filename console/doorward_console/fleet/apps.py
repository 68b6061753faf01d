"""Django's name for this app."""

from django.apps import AppConfig


class FleetConfig(AppConfig):
    name = "doorward_console.fleet"
    default_auto_field = "django.db.models.BigAutoField"
