"""Django's settings, derived from the console's one configuration file.

Imported by every console process; which secrets it may open is decided by file modes, not here: web alone can read
Django's secret key, so worker and signer run with a random one that signs nothing that lasts.
"""

import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from doorward_console.config import ENVIRONMENT, Config, config_from_file

CONFIG = config_from_file(Path(os.environ[ENVIRONMENT])) if ENVIRONMENT in os.environ else Config()


def _secret_key() -> str:
    """Read web's key; a process that may not read it gets one of its own, good until it ends."""
    try:
        return CONFIG.web_key.read_text(encoding="utf-8").strip()
    except OSError:
        return secrets.token_urlsafe(50)


def _database() -> dict[str, Any]:
    scheme, _, rest = CONFIG.database.partition(":")
    if scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": rest,
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",  # two writers wait for each other instead of failing half-way
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
            },
        }
    place = urlsplit(CONFIG.database)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": place.path.lstrip("/"),
        "USER": place.username or "",
        "HOST": place.hostname or "",
        "PORT": str(place.port or ""),
        # An event stream holds a request for hours: it must not hold a connection (docs/architecture.md, event stream).
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"pool": {"timeout": 5}},
    }


def _folder_of(package: str) -> Path:
    """Find an installed package without loading it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.origin).parent


_ADDRESS = urlsplit(CONFIG.address)
_NINJA = _folder_of("ninja")
"""Its page of the API needs its templates and files alone. As an installed app every process would load it, with pydantic
and Django's test client: a third of the time in which worker, signer and each command start."""

SECRET_KEY = _secret_key()
DEBUG = False
ALLOWED_HOSTS = [_ADDRESS.hostname or "localhost", "localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = [CONFIG.address]
ROOT_URLCONF = "doorward_console.urls"
ASGI_APPLICATION = "doorward_console.asgi.application"
DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "people.User"
TIME_ZONE = "UTC"
USE_TZ = True
LANGUAGE_CODE = "en"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    # Ours stands before allauth's: templates of the first app win.
    "doorward_console.people",
    "doorward_console.fleet",
    "doorward_console.maintenance",
    "doorward_console.history",
    "doorward_console.keys",
    "doorward_console.pages",
    "allauth",
    "allauth.account",
    "django_htmx",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "doorward_console.people.first_password.OwnPasswordFirst",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [_NINJA / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "doorward_console.people.adapter.InvitedOnly"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

STATIC_URL = "/static/"
STATICFILES_DIRS = [_NINJA / "static"]
WHITENOISE_USE_FINDERS = True  # files are served from the installed packages: nothing to collect, nothing to go stale
WHITENOISE_AUTOREFRESH = False

SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "doorward_console.pages.views.errors.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}

DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_100
"""One for each device that is marked in the list, which are ten thousand at most, and a few beside them."""
