"""The console as a program sees it: its REST API, signed in as a person, over TLS with the installation's own root."""

import secrets
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from demo.waiting import wait_until

T = TypeVar("T")


class Unexpected(AssertionError):
    """The console answered something else than it should have."""


def _expect(is_so: object, otherwise: str) -> None:
    if not is_so:
        raise Unexpected(otherwise)


def directly(call: Callable[[], T]) -> T:
    """Ask from where this process stands."""
    return call()


class Declined(Unexpected):
    """The console said no: a stable code, and what it told the person."""

    def __init__(self, status: int, answer: Any) -> None:
        super().__init__(f"{status}: {answer}")
        self.status = status
        self.code = answer.get("code") if isinstance(answer, dict) else None


@dataclass(slots=True)
class Console:
    """A signed-in person's view of one project.

    Attributes:
        root: the root CA's certificate.
        through: what makes each request; another one where the console stands in another network.
        host: where the address's name leads to, where no resolver knows it.
    """

    address: str
    root: Path
    through: Callable[[Callable[[], httpx.Response]], httpx.Response] = directly
    host: str = ""
    project: str = field(init=False)
    _client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        trusted = ssl.create_default_context(cafile=str(self.root))
        self._client = httpx.Client(base_url=self._dialled(), verify=trusted, timeout=40)

    def _dialled(self) -> str:
        return str(httpx.URL(self.address).copy_with(host=self.host)) if self.host else self.address

    def sign_in(self, email: str, password: str) -> None:
        """Sign in as at the browser, with a password of one's own from then on, and take the person's first project."""
        self._ask("GET", "/sign-in/")
        answer = self._ask("POST", "/sign-in/", data={"login": email, "password": password})
        _expect(answer.status_code == 302, f"sign-in ended with {answer.status_code}: {answer.text[:2000]}")
        self._replace_first_password(password)
        self.project = self.get("/projects")[0]["id"]

    def _replace_first_password(self, password: str) -> None:
        """Fill in the form to which the console leads whoever signs in with a password that somebody else has seen."""
        led_to = self._ask("GET", "/projects/").headers.get("location", "")
        if "/password/" not in led_to:
            return
        own = secrets.token_urlsafe(16)
        answer = self._ask("POST", "/password/", data={"oldpassword": password, "password1": own, "password2": own})
        _expect(answer.status_code == 302, f"the form said {answer.status_code}: {answer.text[:2000]}")

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        named = httpx.URL(self.address)
        headers = {"Referer": self.address, "Host": named.netloc.decode()}
        if token := self._client.cookies.get("csrftoken"):
            headers["X-CSRFToken"] = token

        def ask() -> httpx.Response:
            return self._client.request(method, path, headers=headers, extensions={"sni_hostname": named.host}, **more)

        return self.through(ask)

    def _api(self, method: str, path: str, **more: Any) -> Any:
        answer = self._ask(method, "/api/v1" + path, **more)
        if answer.status_code >= 400:
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            raise Declined(answer.status_code, answer.json() if is_json else answer.text[:2000])
        return answer.json() if answer.content else None

    def get(self, path: str, **query: Any) -> Any:
        return self._api("GET", path, params=query)

    def post(self, path: str, **body: Any) -> Any:
        return self._api("POST", path, json=body)

    def put(self, path: str, **body: Any) -> Any:
        return self._api("PUT", path, json=body)

    def patch(self, path: str, **body: Any) -> Any:
        return self._api("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        return self._api("DELETE", path)

    def close(self) -> None:
        self._client.close()

    # -- what an owner does

    def pair_relay(self, name: str, line: str) -> str:
        return str(self.post(f"/projects/{self.project}/relays", name=name, line=line)["id"])

    def add_device(self, name: str, relay: str, port: int) -> tuple[str, str]:
        """Add a device, set its relay and port; gives its id and the line with which it joins."""
        device = str(self.post(f"/projects/{self.project}/devices", name=name)["id"])
        self.put(f"/devices/{device}/way", relay=relay, port=port)
        return device, str(self.post(f"/devices/{device}/join")["join"])

    def add_member(self, email: str, role: str) -> str:
        """Give a new person a role; gives the first password."""
        return str(self.post(f"/projects/{self.project}/members", email=email, role=role)["first_password"])

    def make_keys(self) -> dict[str, Any]:
        made: dict[str, Any] = self.post(f"/projects/{self.project}/keys")
        return made

    def open_door(self, device: str, **how: Any) -> Any:
        return self.post(f"/devices/{device}/door", state="open", **how)

    def shut_door(self, device: str) -> Any:
        return self.post(f"/devices/{device}/door", state="shut")

    def door(self, device: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/devices/{device}/door")
        return found

    def wait_for_door(self, device: str, state: str, limit_s: float = 30) -> dict[str, Any]:
        """Wait, as a waiting page does, until the door is ``state``; gives it, and fails with what it was."""
        return self._door_once(device, (state,), limit_s)

    def _door_once(self, device: str, states: tuple[str, ...], limit_s: float) -> dict[str, Any]:
        ends_at = time.monotonic() + limit_s
        door = self.door(device)
        while door["state"] not in states and time.monotonic() < ends_at:
            door = self.get(f"/devices/{device}/door", wait=2, state=door["state"])
        _expect(door["state"] in states, f"waited {limit_s} s for the door to be {' or '.join(states)}: {door}")
        return door

    def wait_for_device(self, device: str, is_so: Callable[[Any], bool], limit_s: float = 30) -> Any:
        return wait_until(
            lambda: (said := self.get(f"/devices/{device}")) and is_so(said) and said, limit_s, f"device {device}"
        )

    def shut_and_wait(self, device: str) -> None:
        """Bring a door to rest, whatever it was."""
        if self.door(device)["state"] not in {"shut", "failed"}:
            self.shut_door(device)
            self._door_once(device, ("shut", "failed"), 30)

    def lines(self, action: str = "", device: str = "") -> list[dict[str, Any]]:
        """Give the newest page of the history."""
        found: list[dict[str, Any]] = self.get(f"/projects/{self.project}/history", action=action, device=device)[
            "lines"
        ]
        return found

    def wait_for_history(self, verbs: Iterable[str], device: str = "", limit_s: float = 20) -> None:
        """Wait until each of ``verbs`` stands in the newest page, signed."""
        for verb in verbs:
            wait_until(lambda named=verb: self._is_signed(named, device), limit_s, f"{verb} in the history")  # type: ignore[misc]  # a default binds the loop's name

    def _is_signed(self, verb: str, device: str) -> bool:
        return any(line["record"] for line in self.lines(verb, device))

    def actions(self) -> list[str]:
        """Give what people did, newest first, as the page says it."""
        return [f"{line['sentence']} · {line['by']}" for line in self.lines("maintenance")]

    def export_history(self) -> bytes:
        answer = self._ask("GET", f"/projects/{self.project}/history/export/")
        _expect(answer.status_code == 200, answer.text[:2000])
        return answer.content
