"""The web process, started for a test on a database of its own choice."""

import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from django.test import Client
from doorward_protocol.signature import SigningKey

from tests.console.conftest import FOLDER
from tests.parts.certificates import make_root
from tests.parts.files import write_whole
from tests.parts.ports import free_port
from tests.parts.processes import PLAIN_ENVIRONMENT, Program, Programs

ISSUER: Final = SigningKey.generate()
"""Whose licences this console believes."""


@dataclass(slots=True)
class Web:
    """A web process that can be ended and started again at the same address."""

    programs: Programs
    scratch: Path
    database: str
    port: int
    program: Program | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def start(self) -> None:
        """Start it and wait until it accepts; it shares the tests' run folder and secret key."""
        certificate, key = self.scratch / "web.crt", self.scratch / "web.key"
        if not certificate.exists():
            make_root().server().write(self.scratch, "web")
        lines = [f'address = "{self.url}"', f'database = "{self.database}"', f'data_dir = "{FOLDER}"']
        lines += [f'run_dir = "{FOLDER}/run"', f'web_key = "{FOLDER}/web_key"']
        lines += [f'tls_certificate = "{certificate}"', f'tls_key = "{key}"', f'licence_issuers = ["{ISSUER.public}"]']
        config = write_whole(self.scratch / "web.toml", "\n".join(lines) + "\n")
        self.program = self.programs.start(
            sys.executable, "-m", "uvicorn", "doorward_console.asgi:application", "--host", "127.0.0.1",
            "--port", str(self.port), "--ssl-certfile", certificate, "--ssl-keyfile", key,
            "--timeout-graceful-shutdown", "1",
            name="web", env={**PLAIN_ENVIRONMENT, "DOORWARD_CONSOLE_CONFIG": str(config)},
        )  # fmt: skip
        self.program.wait_for_port(self.port, limit_s=30)

    def stop(self) -> None:
        """End it; open pages lose their stream."""
        if self.program is not None:
            self.program.end()


def start_web(programs: Programs, scratch: Path, database: str | None = None) -> Web:
    """Start a web process; on the tests' own SQLite file when no database is named."""
    web = Web(programs, scratch, database or f"sqlite:{FOLDER}/test.sqlite3", free_port())
    web.start()
    return web


def browser_of(web: Web, user: Any) -> httpx.Client:
    """Give an HTTP client in which ``user`` is signed in."""
    signed_in = Client()
    signed_in.force_login(user)
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    cookies = {"sessionid": signed_in.cookies["sessionid"].value}
    return httpx.Client(base_url=web.url, verify=unverified, cookies=cookies, timeout=20)
