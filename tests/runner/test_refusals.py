"""Orders that the runner refuses, each handed over by an ordinary process with the agent's uid, through sudo."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from doorward_protocol.revisions import MAX_REVISION_STEP

from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port, is_listening
from tests.parts.processes import run
from tests.protocol.cast import NOW, STALE, STRANGER, Draft, named, ssh_key, with_envelope
from tests.runner.programs import RUNNER
from tests.runner.site import Site


@pytest.fixture(scope="module")
def held(lasting_site: Site) -> Iterator[Site]:
    """A runner that has obeyed revision 10 and written one session down as ended."""
    lasting_site.ask({"verb": "status"})
    shut = json.dumps({"state": "shut", "session": None})
    assert lasting_site.order(lasting_site.envelope(shut, revision=10))["ok"]
    assert lasting_site.ask({"verb": "close", "session": named("s", "ended session")})["ok"]
    yield lasting_site
    assert lasting_site.left_over() == []


@dataclass(frozen=True, slots=True)
class Case:
    """One order that has to be refused."""

    code: str
    why: str
    make: Callable[[Site], dict[str, Any]]


def _draft(site: Site, body: dict[str, Any] | None = None, **message: Any) -> Draft:
    fresh = {"epoch": 0, "revision": 11, "runner_nonce": site.nonces()[0]}
    return Draft(body or site.body(site.new_session()), fresh | message)


def _message(**message: Any) -> Callable[[Site], dict[str, Any]]:
    return lambda site: _sealed(_draft(site, **message))


def _body(**body: Any) -> Callable[[Site], dict[str, Any]]:
    return lambda site: _sealed(_draft(site, site.body(site.new_session()) | body))


def _login(site: Site, user: str | None = None, *keys: str) -> dict[str, Any]:
    login = {"user": user or site.login_user, "authorized_keys": list(keys)}
    return _sealed(_draft(site, site.body(site.new_session(), login=login)))


def _sealed(draft: Draft) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(draft.raw())
    return envelope


def _by_stranger(site: Site) -> dict[str, Any]:
    draft = _draft(site)
    return _sealed(Draft(draft.body, draft.message, signer=STRANGER))


def _changed(site: Site) -> dict[str, Any]:
    """Put the payload of one order under the signature of another."""
    return _sealed(_draft(site)) | {"payload": _sealed(_draft(site, device=named("d", "other")))["payload"]}


CASES: Final = (
    Case("order.too-large", "over 64 KiB", lambda site: _sealed(_draft(site)) | {"padding": "x" * 66_000}),
    Case("order.not-an-envelope", "an empty object", lambda _: {}),
    Case("order.wrong-type", "a record", lambda site: json.loads(
        with_envelope(_draft(site).raw(), payloadType="application/vnd.doorward.record+json"))),
    Case("order.unsigned", "no signature", lambda site: _sealed(_draft(site)) | {"signatures": []}),
    Case("order.unknown-key", "signed by a stranger", _by_stranger),
    Case("order.bad-signature", "changed after signing", _changed),
    Case("order.unknown-version", "of version 2", _message(v=2)),
    Case("order.malformed", "a session that is no id", _body(session="../../etc")),
    Case("order.malformed", "a port that is none", _body(forwards=[{"name": "ssh", "target": "ssh", "bind": "*", "port": 0}])),
    Case("order.other-device", "for another device", _message(device=named("d", "other"))),
    Case("order.other-device", "for another project", _message(project=named("p", "other"))),
    Case("order.stale-nonce", "the agent's nonce for the runner's", _message(runner_nonce=STALE)),
    Case("order.stale-nonce", "no nonce of the runner's", _message(runner_nonce=None)),
    Case("order.lower-revision", "an older revision", _message(revision=9)),
    Case("order.other-digest", "the same revision with another body", _message(revision=10)),
    Case("order.too-far-ahead", "a revision from the future", _message(revision=11 + MAX_REVISION_STEP)),
    Case("order.session-ended", "a session that has ended", _body(session=named("s", "ended session"))),
    Case("order.past-its-end", "an end before the order", _body(ends_at=NOW - 1)),
    Case("order.too-long", "longer than this device allows", _body(ends_at=NOW + 90_000_000, duration_s=90_000)),
    Case("order.not-allowed", "for root", lambda site: _login(site, "root", ssh_key("engineer"))),
    Case("order.not-allowed", "a key with options before it", lambda site: _login(
        site, None, f'command="id" {ssh_key("engineer")}')),
    Case("order.not-allowed", "two lines in one key", lambda site: _login(
        site, None, f"{ssh_key('engineer')}\n{ssh_key('other')}")),
    Case("order.not-allowed", "a banner with a line break", _body(banner="a\nPermitRootLogin yes")),
)  # fmt: skip


@pytest.mark.feature("B2")
@pytest.mark.threat("agent-unsigned", "agent-stale", "agent-again")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}: {case.why}")
def test_runner_when_order_may_not_be_obeyed_then_it_is_refused_and_nothing_opens(held: Site, case: Case) -> None:
    """The runner judges for itself: whatever the agent's user hands over, nothing opens and nothing is used up."""
    envelope, port, nonces, ended = case.make(held), free_port(), held.nonces(), held.ended()
    answer = held.order(envelope, port)
    assert (answer["ok"], answer["code"]) == (False, case.code)
    assert not is_listening(port)
    assert held.left_over() == []
    assert (held.nonces(), held.ended()) == (nonces, ended)
    assert json.loads((held.state_dir / "promise.json").read_text())["revision"] == 10


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"{}", b"[]", b'{"verb":"open"}', b'{"verb":"close","session":"../x"}', b'{"verb":"close"}',
        b'{"verb":"order","envelope":{},"port":22}', b'{"verb":"order","envelope":"x","port":4000}',
        b'{"verb":"status","verb":"close"}', b"\xff\xfe\n", b"[" * 100_000,
    ],
)  # fmt: skip
def test_runner_when_request_is_none_then_it_says_so(held: Site, line: bytes) -> None:
    """Anything but one request of protocol.md §10 is answered with one code."""
    assert held.ask(line)["code"] == "runner.malformed"


def test_runner_when_request_never_ends_then_it_stops_reading(held: Site) -> None:
    """Twice the largest envelope is where root's patience ends."""
    assert held.ask(b'{"verb":"' + b"x" * 200_000)["code"] == "order.too-large"


def _age(site: Site, by_s: int) -> None:
    """Make the newest nonce older, as the boot-time clock sees it."""
    stamp = site.run_dir / "nonce.stamp"
    write_whole(stamp, f"{int(float(Path('/proc/uptime').read_text().split()[0])) - by_s}\n")


@pytest.mark.threat("broker-late", "agent-stale")
def test_runner_when_order_was_kept_back_for_ten_minutes_then_it_is_stale(site: Site) -> None:
    """What answers an ask of ten minutes ago opens nothing, whoever kept it back and whatever the wall clock says."""
    site.ask({"verb": "status"})
    envelope, port = site.envelope(site.body(site.new_session())), free_port()
    _age(site, 601)
    assert site.order(envelope, port)["code"] == "order.stale-nonce"
    assert not is_listening(port)


def test_runner_when_nonce_is_the_older_of_two_then_the_order_is_obeyed(site: Site) -> None:
    """The last two count: an order that crossed with a renewal is not lost."""
    site.ask({"verb": "status"})
    envelope = site.envelope(site.body(site.new_session()))
    _age(site, 301)  # old enough to be renewed; the stamp of a machine that was just booted cannot be older
    site.ask({"verb": "status"})
    assert len(site.nonces()) == 2
    assert site.order(envelope)["ok"]


@pytest.mark.threat("agent-again", "broker-replay")
def test_runner_when_order_was_done_before_then_its_nonce_is_used_up(site: Site) -> None:
    """An order that was obeyed is stale from then on: handing it over again changes nothing, open or closed."""
    site.ask({"verb": "status"})
    envelope = site.envelope(site.body(site.new_session()))
    first = site.order(envelope)
    assert first["ok"]
    again, port = site.order(envelope), free_port()
    assert again["code"] == "order.stale-nonce"
    assert site.ask({"verb": "status"})["port"] == first["port"]
    site.ask({"verb": "close", "session": first["session"]})
    assert site.order(envelope, port)["code"] == "order.stale-nonce"
    assert not is_listening(port)


@pytest.mark.threat("agent-again")
def test_runner_when_session_was_closed_then_signed_again_it_stays_closed(site: Site) -> None:
    """A session that was closed or has ended never opens again, freshly signed or not, at any revision."""
    first = site.open()
    site.ask({"verb": "close", "session": first["session"]})
    body = site.body(first["session"])
    for revision in (site.revision, site.revision + 1):
        assert site.order(site.envelope(body, revision=revision))["code"] == "order.session-ended"
    assert site.left_over() == []


@pytest.mark.threat("agent-unsigned")
def test_runner_when_agents_user_looks_then_state_is_hidden_and_only_one_command_is_roots(site: Site) -> None:
    """The agent's user reads no pin, counter or key, and sudo gives it nothing but the one fixed command line."""
    assert site.ask({"verb": "status"})["ok"]
    for user in (site.agent_user, site.login_user):
        for name in ("", "pins.json", "promise.json", "door_host_key"):
            assert run(["/bin/cat", site.state_dir / name], user=user).returncode != 0
            assert run(["/bin/ls", site.state_dir], user=user).returncode != 0
        assert run(["/usr/bin/touch", site.run_dir / "nonce"], user=user).returncode != 0
    allowed: list[str | Path] = [require("sudo"), "-n", RUNNER, "--config", site.config]
    for words in (["prepare"], ["pin", "--again"], ["clear"]):
        assert run([*allowed, *words], user=site.agent_user).returncode != 0
    assert run([*allowed[:-1], "/dev/null"], user=site.agent_user).returncode != 0
    assert run(allowed, user=site.login_user).returncode != 0
    assert run(allowed, stdin=b'{"verb":"status"}\n', user=site.agent_user).returncode == 0


def test_runner_when_not_joined_then_no_order_is_obeyed(site: Site) -> None:
    """Before joining no key is pinned, so every order is a stranger's."""
    (site.state_dir / "pins.json").unlink()
    site.ask({"verb": "status"})
    assert site.order(site.envelope(site.body(site.new_session())))["code"] == "order.unknown-key"
