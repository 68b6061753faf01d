"""A hostile process with the agent's uid at the runner's own socket: every verb, forged, redirected, stale and played again."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from doorward_protocol.commands import AGENT_VERBS, HOOK_VERBS
from doorward_protocol.digests import digest_of
from doorward_protocol.revisions import MAX_REVISION_STEP
from doorward_runner.edges.hooks import VERBS

from tests.parts.files import write_whole
from tests.parts.ports import free_port
from tests.parts.processes import run
from tests.protocol.cast import DEVICE_KEY, NOW, RECORD_KEY, STALE, STRANGER, Draft, command_body, named
from tests.runner.site import Site

pytestmark = pytest.mark.timeout(180)

_HOSTILE: Final = """
import json, os, pwd, socket, sys
from concurrent.futures import ThreadPoolExecutor
account = pwd.getpwnam(sys.argv[1])
os.setgroups([]); os.setresgid(*[account.pw_gid] * 3); os.setresuid(*[account.pw_uid] * 3)
def ask(line):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(60)
        stream.connect(sys.argv[2])
        stream.sendall(line.encode() + b"\\n")
        return json.loads(stream.makefile("rb").read() or "null")
with ThreadPoolExecutor(2) as pool:
    print(json.dumps(list(pool.map(ask, json.load(sys.stdin)))))
"""
"""Reads requests, puts each to the socket as the agent's user could by hand, and prints what was answered."""
_HOOK: Final = '#!/bin/sh\necho "$DOORWARD_VERB" >> "{marks}"\ncat > /dev/null\n'
_READS: Final = _HOOK + "echo '{{\"values\": {{}}}}'\n"


class Part(NamedTuple):
    """Something that an order can be for: its part and an honest body."""

    part: str
    body: Mapping[str, Any] | str


class Hostile:
    """A runner with a hook for everything, and a process of the agent's user that speaks to its socket."""

    def __init__(self, site: Site, path: Path) -> None:
        self.site, self.path, self.marks = site, path, site.folder / "marks"
        folder = site.folder / "hooks"
        folder.mkdir(mode=0o755)
        for verb in VERBS:
            text = _READS if verb == "settings-read" else _HOOK
            write_whole(folder / verb, text.format(marks=self.marks)).chmod(0o755)
        site.configure(hooks=[str(folder)], trial_s=3600)

    def ask(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Put requests to the socket, and give the answers in their order."""
        lines = json.dumps([json.dumps(one) for one in requests]).encode()
        ran = run([sys.executable, "-c", _HOSTILE, self.site.agent_user, self.path], stdin=lines, limit_s=120)
        assert ran.returncode == 0, ran.stderr.decode()
        answers: list[dict[str, Any]] = json.loads(ran.stdout)
        return answers

    def order(self, envelope: Mapping[str, Any]) -> dict[str, Any]:
        """Put one order to the socket."""
        (answer,) = self.ask([request_of(envelope)])
        return answer

    def refresh(self) -> None:
        """Have a nonce there that counts."""
        assert self.ask([{"verb": "status"}])[0]["ok"]

    def draft(self, what: Part, **message: Any) -> Draft:
        """Make an order that is honest but for what ``message`` changes: the newest nonce, the next revision."""
        fresh = {"part": what.part, "epoch": 0, "revision": 1000, "runner_nonce": self.site.nonces()[0]}
        return Draft(what.body, fresh | message)

    def parts(self) -> dict[str, Part]:
        """Name everything that an order can be for."""
        trial = {"epoch": 0, "revision": 9, "digest": digest_of(b"{}")}
        commands = {verb: Part("command", command_body(verb=verb)) for verb in (*HOOK_VERBS, *AGENT_VERBS)}
        return {
            "open": Part("door", self.site.body(self.site.new_session())),
            "shut": Part("door", {"state": "shut", "session": None}),
            "settings": Part("settings", {"values": {"address": "theirs"}}),
            "confirm": Part("confirm", {"settings": trial}),
            **commands,
        }

    @property
    def runs(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []

    def state(self) -> dict[str, str]:
        """Give every file that the runner keeps."""
        folders = (self.site.state_dir, self.site.run_dir)
        paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return {str(path): path.read_text(errors="replace") for path in paths}


@pytest.fixture
def hostile(site: Site, runner_socket: Path) -> Hostile:
    """A hostile process beside a runner that has obeyed each part once: a shut door, settings, a command."""
    found = Hostile(site, runner_socket)
    for part, body in (
        ("door", {"state": "shut", "session": None}),
        ("settings", {"values": {"address": "good"}}),
        ("command", command_body(verb="health", command=named("c", "the one before"))),
    ):
        found.refresh()
        assert found.order(site.envelope(body, part=part, revision=999))["ok"], part
    assert found.runs == ["settings-read", "settings-apply", "health"]
    return found


def request_of(envelope: Mapping[str, Any]) -> dict[str, Any]:
    return {"verb": "order", "envelope": envelope, "port": free_port()}


def _sealed(draft: Draft) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(draft.raw())
    return envelope


def _signed_by(signer: Any, draft: Draft) -> dict[str, Any]:
    return _sealed(Draft(draft.body, draft.message, signer=signer))


def _forgeries(hostile: Hostile, what: Part) -> dict[str, tuple[dict[str, Any], str]]:
    """Give what a hostile process may make of an order, and the code that each has to be refused with."""
    honest = hostile.draft(what)
    other = _sealed(hostile.draft(what, issued_at=NOW + 1))
    relabelled = "settings" if what.part == "command" else "command"
    forged = {
        "not signed": (_sealed(honest) | {"signatures": []}, "order.unsigned"),
        "signed by a stranger": (_signed_by(STRANGER, honest), "order.unknown-key"),
        "signed by the device's own key": (_signed_by(DEVICE_KEY, honest), "order.unknown-key"),
        "signed by the worker's key": (_signed_by(RECORD_KEY, honest), "order.unknown-key"),
        "another payload": (_sealed(honest) | {"payload": other["payload"]}, "order.bad-signature"),
        "a record": (
            _sealed(Draft(honest.body, honest.message, of="record")),
            "order.wrong-type",
        ),
        "for another device": (_sealed(hostile.draft(what, device=named("d", "other"))), "order.other-device"),
        "for another project": (_sealed(hostile.draft(what, project=named("p", "other"))), "order.other-device"),
        "for another part": (_sealed(hostile.draft(what, part=relabelled)), "order.malformed"),
        "stale": (_sealed(hostile.draft(what, runner_nonce=STALE)), "order.stale-nonce"),
        "for the agent alone": (_sealed(hostile.draft(what, runner_nonce=None)), "order.stale-nonce"),
    }
    if what.part != "confirm":  # it has no revision of its own: it names the trial's, and nothing else can be confirmed
        ahead = 1000 + MAX_REVISION_STEP
        forged |= {
            "older": (_sealed(hostile.draft(what, revision=998)), "order.lower-revision"),
            "under a number that was another's": (_sealed(hostile.draft(what, revision=999)), "order.other-digest"),
            "from the future": (_sealed(hostile.draft(what, revision=ahead)), "order.too-far-ahead"),
        }
    if what.part == "command":
        late = Part("command", {**dict(what.body), "expires_at": NOW})  # type: ignore[arg-type]  # a command's is a mapping
        forged["after its end"] = (_sealed(hostile.draft(late)), "order.past-its-end")
    return forged


@pytest.mark.threat("agent-unsigned", "agent-stale")
def test_agents_user_when_an_order_was_not_signed_for_this_device_now_then_root_does_nothing_whatever_the_verb(
    hostile: Hostile,
) -> None:
    """Door, settings, confirmation and every command, each in every way: refused with its code, and not a byte of root's changes."""
    hostile.refresh()
    before, runs = hostile.state(), hostile.runs
    tried = {
        (name, how): forged
        for name, what in hostile.parts().items()
        for how, forged in _forgeries(hostile, what).items()
        if not (name == "shut" and "another's" in how)  # the very body that was obeyed: told once more
    }
    assert len(tried) > 180
    answers = hostile.ask([request_of(envelope) for envelope, _ in tried.values()])
    said = {way: answer.get("code") for way, answer in zip(tried, answers, strict=True)}
    assert said == {way: code for way, (_, code) in tried.items()}
    assert (hostile.state(), hostile.runs) == (before, runs)
    assert hostile.site.left_over() == []


@pytest.mark.threat("agent-unsigned")
def test_agents_user_when_it_names_what_only_root_or_an_order_may_then_it_is_no_request(hostile: Hostile) -> None:
    """The socket knows an order, a shutting, and four questions; whatever else comes along with a name changes nothing."""
    runs = hostile.runs
    names = ("prepare", "pin", "clear", "revert", "run", "open", "confirm", *VERBS, *AGENT_VERBS)
    more: dict[str, Any] = {"arguments": {"values": {}}, "session": None, "envelope": {}, "port": 4000, "again": True}
    answers = hostile.ask([{"verb": verb} | also for verb in names for also in ({}, more)])
    assert {answer["code"] for answer in answers} == {"runner.malformed"}
    assert hostile.runs == runs


def test_agents_user_when_it_asks_then_it_is_told_and_nothing_runs(hostile: Hostile) -> None:
    """What needs no signature: to be told how things are, and to shut."""
    runs = hostile.runs
    answers = hostile.ask([{"verb": verb} for verb in ("status", "command", "settings", "hooks")])
    assert [answer["ok"] for answer in answers] == [True] * 4
    assert "good" not in json.dumps(answers)  # not what the settings are
    assert hostile.runs == runs


@pytest.mark.threat("agent-again")
def test_agents_user_when_it_plays_an_honest_command_again_then_it_runs_no_second_time(hostile: Hostile) -> None:
    """Obeyed once; the same bytes many times at once, and the same command signed anew: told, and not run."""
    site = hostile.site
    for revision, verb in enumerate(HOOK_VERBS, 1000):
        runs = hostile.runs
        hostile.refresh()
        order = site.envelope(command_body(verb=verb), part="command", revision=revision)
        codes = [answer.get("code") for answer in hostile.ask([request_of(order)] * 4)]
        assert (codes.count(None), set(codes) <= {None, "order.stale-nonce", "runner.busy"}) == (1, True), codes
        hostile.refresh()
        again = site.envelope(command_body(verb=verb), part="command", revision=revision)
        assert {answer["state"] for answer in hostile.ask([request_of(again)] * 2)} == {"done"}
        assert hostile.runs == [*runs, verb]


@pytest.mark.threat("agent-again")
def test_agents_user_when_it_plays_settings_and_their_confirmation_again_then_nothing_is_tried_or_confirmed(
    hostile: Hostile,
) -> None:
    """Settings that were put back are not tried again, and a confirmation of before confirms none of today's."""
    site, body = hostile.site, {"values": {"address": "new"}}
    hostile.refresh()
    order = site.envelope(body, part="settings", revision=1000)
    assert hostile.order(order)["state"] == "trying"
    hostile.refresh()
    trial = {"epoch": 0, "revision": 1000, "digest": _digest_of(body)}
    confirmation = site.envelope({"settings": trial}, part="confirm", revision=1000)
    assert hostile.order(confirmation)["state"] == "confirmed"
    hostile.refresh()
    other = site.envelope({"values": {"address": "worse"}}, part="settings", revision=1001)
    assert hostile.order(other)["state"] == "trying"
    runs = hostile.runs
    codes = [answer["code"] for answer in hostile.ask([request_of(one) for one in (order, confirmation, other)])]
    assert codes == ["order.stale-nonce"] * 3
    hostile.refresh()
    anew = site.envelope({"settings": trial}, part="confirm", revision=1001)
    assert hostile.order(anew)["code"] == "settings.not-trying"
    assert hostile.ask([{"verb": "settings"}])[0]["state"] == "trying"
    assert hostile.runs == runs


def _digest_of(body: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(body, separators=(",", ":")).encode())


def test_hostile_process_when_its_orders_are_honest_then_they_are_obeyed(hostile: Hostile) -> None:
    """What the others refuse is refused for its fault, and not for the way it came: the same, signed for now, is done."""
    runs, done = hostile.runs, []
    for number, (name, what) in enumerate(hostile.parts().items()):
        if what.part == "confirm" or name in AGENT_VERBS:
            continue
        hostile.refresh()
        answer = hostile.order(_sealed(hostile.draft(what, revision=1000 + number)))
        assert answer["ok"], (name, answer)
        done.append(name)
    assert [verb for verb in hostile.runs[len(runs) :] if verb in HOOK_VERBS] == done[3:]
    assert hostile.site.left_over() == []  # the second of them shut the door
