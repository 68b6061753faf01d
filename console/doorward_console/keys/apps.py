"""Django's name for this app."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "doorward_console.keys"
    default_auto_field = "django.db.models.BigAutoField"
