"""Django's name for this app."""

from django.apps import AppConfig


class PeopleConfig(AppConfig):
    name = "doorward_console.people"
    default_auto_field = "django.db.models.BigAutoField"
