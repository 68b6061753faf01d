"""``doorward-agent hooks`` in a terminal, asked of the real runner: through sudo, over its socket, by root and by others."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doorward_agent.edges.hooks_command import DOES
from doorward_protocol.commands import AGENT_VERBS
from doorward_runner.edges.hooks import VERBS

from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import require
from tests.parts.ordinary import as_ordinary
from tests.parts.terminal import typed
from tests.runner.conftest import Users
from tests.runner.programs import ROOT, RUNNER
from tests.runner.site import Site
from tests.runner.test_hooks import UNSAFE

pytestmark = pytest.mark.real("root")


@pytest.fixture
def folders(site: Site) -> Iterator[tuple[Path, Path]]:
    """The site's folder for hooks and ours, empty."""
    with scratch_folder() as top:
        top.chmod(0o755)
        made = (top / "site", top / "ours")
        for folder in made:
            folder.mkdir(mode=0o755)
        site.configure(hooks=[str(folder) for folder in made])
        yield made


def agents_file(site: Site, **keys: Any) -> Path:
    """Write a configuration of the agent's that nobody has joined with."""
    through_sudo = {
        "runner": "sudo",
        "runner_command": [str(require("sudo")), "-n", str(RUNNER), "--config", str(site.config)],
    }
    lines = {"state_dir": str(site.folder / "agent"), **through_sudo, **keys}
    return write_whole(
        site.folder / "agent.toml", "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    )


def said(config: Path, *before: str) -> tuple[int, str]:
    """Type the command; gives its exit status and what was to be seen."""
    return typed(*before, sys.executable, "-m", "doorward_agent", "--config", config, "hooks")


def found(shown: str) -> dict[str, tuple[str, str]]:
    """Take what was shown apart: by verb, what it does and what there is for it."""
    lines = [line for line in shown.splitlines() if line[:15].strip() in DOES and line[15:17] == "  "]
    return {line[:15].strip(): (line[17:56].strip(), line[58:]) for line in lines}


@pytest.mark.parametrize("who", ["root", "the agent's user"])
def test_hooks_when_asked_by_root_or_the_agents_user_then_each_verb_has_its_line(
    site: Site, folders: tuple[Path, Path], who: str
) -> None:
    """What it does and which hook: the site's before ours; an empty one takes away; nobody has joined, and no agent runs."""
    own, ours = folders
    for path in (own / "health", ours / "health", ours / "reboot", ours / "suspend"):
        write_whole(path, "#!/bin/sh\ntouch /never\n", 0o755)
    write_whole(own / "suspend", "")
    status, shown = said(agents_file(site), *(as_ordinary(site.agent_user) if who != "root" else []))
    assert status == 0, shown
    told = found(shown)
    assert list(told) == [*VERBS, *AGENT_VERBS]
    assert told["health"] == ("says whether it is well", str(own / "health"))
    assert told["reboot"] == ("restarts it", str(ours / "reboot"))
    assert told["suspend"][1] == f"hook.missing: {own / 'suspend'} is empty, which takes it away from this device"
    assert told["shutdown"] == ("switches it off", "hook.missing: there is none")
    assert told["rehearse"] == ("tries the way to the relay", "by the agent itself")
    assert shown.splitlines()[-1] == f"Hooks are looked for in {own}, then in {ours}."
    assert site.ask({"verb": "status"})["verbs"] == ["health", "reboot"], "the console is told the same"
    assert not Path("/never").exists()


@pytest.mark.parametrize("how", [how for how in UNSAFE if not how.startswith("below")])
def test_hooks_when_one_is_unsafe_then_its_line_says_why_and_the_status_is_1(
    site: Site, folders: tuple[Path, Path], how: str
) -> None:
    """The same judgement, in the same words, as when it is to be run; and below it, what to do."""
    hook = write_whole(folders[0] / "reboot", "#!/bin/sh\n", 0o755)
    where, spoil, why = UNSAFE[how]
    spoil({"hook": hook, "site": folders[0]}[where])
    status, shown = said(agents_file(site))
    line = found(shown)["reboot"][1]
    assert site.ask({"verb": "status"})["verbs"] == []
    assert (status, line.startswith(f"hook.unsafe: {folders[0]}"), why in line) == (1, True, True), shown
    assert shown.splitlines()[-1].endswith(
        "On the device: chmod u+x the hook, chown root and chmod go-w the hook and its folders; no links."
    )


@pytest.mark.parametrize("who", ["root", "the agent's user", "another"])
def test_hooks_when_asked_over_the_socket_then_root_and_the_agents_user_are_answered(
    site: Site, folders: tuple[Path, Path], runner_socket: Path, users: Users, who: str
) -> None:
    """Under systemd nobody needs sudo; whoever may not ask hears who may."""
    config = agents_file(site, runner="socket", runner_socket=str(runner_socket))
    user = {"root": None, "the agent's user": site.agent_user, "another": users.login}[who]
    status, shown = said(config, *(as_ordinary(user) if user else []))
    if who != "another":
        assert (status, found(shown)["reboot"][1]) == (0, "hook.missing: there is none"), shown
        return
    assert status == 1
    assert shown.startswith("runner.unavailable: "), shown
    assert "Permission denied" in shown
    assert shown.splitlines()[-1] == "Only root and the agent's user are answered."


@pytest.mark.parametrize(
    ("answers", "code", "next_step"),
    [
        (None, "runner.unavailable", "Check doorward-runner.socket"),
        ('{"ok": true, "hooks": 7}', "runner.unavailable", "Update agent and runner together."),
        (
            '{"ok": false, "code": "runner.malformed", "message": "verb"}',
            "runner.malformed",
            "Update agent and runner together.",
        ),
    ],
    ids=["none", "unreadable", "older"],
)
def test_hooks_when_the_runner_cannot_say_then_why_and_what_to_do_is_said(
    site: Site, answers: str | None, code: str, next_step: str
) -> None:
    """No runner, one that answers something else, one of before there was this question: a sentence, and status 1."""
    program = site.folder / "a-runner"
    if answers is not None:
        write_whole(program, f"#!/bin/sh\nread request\necho '{answers}'\n", 0o755)
    status, shown = said(agents_file(site, runner="command", runner_command=[str(program)]))
    assert (status, shown.startswith(f"{code}: "), next_step in shown) == (1, True, True), shown
    assert "Traceback" not in shown


def test_hooks_when_shown_in_the_guide_then_as_they_are_said(site: Site, folders: tuple[Path, Path]) -> None:
    """What docs/hooks.md shows is what stands in the terminal, but for where the folders are."""
    own, ours = folders
    for verb in (
        "factory-reset",
        "health",
        "message",
        "reboot",
        "settings-apply",
        "settings-read",
        "settings-revert",
        "suspend",
    ):
        write_whole(ours / verb, "#!/bin/sh\n", 0o755)
    write_whole(own / "health", "#!/bin/sh\n", 0o755)
    write_whole(own / "factory-reset", "")
    write_whole(own / "reboot", "#!/bin/sh\n", 0o775)
    _, shown = said(agents_file(site))
    shown = shown.replace(str(own), "/etc/doorward/hooks").replace(str(ours), "/usr/share/doorward/firmware-hooks")
    page = (ROOT / "docs" / "hooks.md").read_text()
    assert f"```text\n$ doorward-agent hooks\n{shown}```\n" in page, shown
