"""Django's name for this app."""

from django.apps import AppConfig


class HistoryConfig(AppConfig):
    name = "doorward_console.history"
    default_auto_field = "django.db.models.BigAutoField"
