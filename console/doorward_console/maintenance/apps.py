"""Django's name for this app."""

from django.apps import AppConfig


class MaintenanceConfig(AppConfig):
    name = "doorward_console.maintenance"
    default_auto_field = "django.db.models.BigAutoField"
