"""The agent's configuration and its command line."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from doorward_agent.config import Config, config_from_document, config_from_file
from doorward_agent.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent.toml"


def agent(*arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "doorward_agent", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)


def test_example_when_read_then_it_is_the_defaults_and_names_every_key() -> None:
    """The example shows every key with its default."""
    assert config_from_file(EXAMPLE) == Config()
    text = EXAMPLE.read_text()
    assert [field.name for field in fields(Config) if f"{field.name} = " not in text] == []


def test_config_when_it_has_faults_then_all_are_told_at_once(tmp_path: Path) -> None:
    """Whoever edits the file sees every fault in one go, and the exit status is 78."""
    path = tmp_path / "agent.toml"
    path.write_text(
        'state_dir = "relative"\nrunner = "magic"\nkeepalive_s = "30"\nno_such_key = 1\nrunner_command = []\n'
    )
    done = agent("--config", str(path), "status")
    assert done.returncode == 78
    for name in ("state_dir", "runner ", "keepalive_s", "no_such_key", "runner_command"):
        assert name in done.stderr


@pytest.mark.parametrize(
    "document",
    [
        {"longest_session_s": True},
        {"longest_session_s": 59},
        {"login_user": "root; rm"},
        {"user": ""},
        {"firmware": "a\nb"},
        {"runner_command": ["sudo"]},
        {"runner_command": ["/usr/bin/sudo", 1]},
    ],
)
def test_config_when_a_value_is_wrong_then_refused(document: dict[str, object]) -> None:
    """Each key is checked."""
    with pytest.raises(ConfigError):
        config_from_document(document, "test")


def test_config_when_file_is_missing_or_no_toml_then_says_so(tmp_path: Path) -> None:
    """A file that was named has to be there and to be TOML."""
    with pytest.raises(ConfigError, match="no such file"):
        config_from_file(tmp_path / "missing.toml")
    (tmp_path / "agent.toml").write_text("= =")
    with pytest.raises(ConfigError, match="not TOML"):
        config_from_file(tmp_path / "agent.toml")


def test_help_when_asked_then_examples_come_first() -> None:
    """Examples stand before the flags, and the exit statuses are listed."""
    done = agent("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("examples:")
    assert "78 configuration" in done.stdout


def test_usage_when_wrong_then_one_line_and_64() -> None:
    """A wrong command line is told in one line."""
    done = agent("fly")
    assert done.returncode == 64
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "status"])
def test_command_when_machine_has_not_joined_then_says_how_to_join(tmp_path: Path, command: str) -> None:
    """Before joining, both commands say what to do, with status 77."""
    path = tmp_path / "agent.toml"
    path.write_text(f'state_dir = "{tmp_path}"\nruntime_dir = "{tmp_path}/run"\n')
    done = agent("--config", str(path), command)
    assert done.returncode == 77
    assert "doorward-agent join" in done.stderr


def test_status_when_never_started_then_says_not_running(tmp_path: Path) -> None:
    """Status works without an agent, for people and as JSON."""
    path = tmp_path / "agent.toml"
    path.write_text(f'state_dir = "{tmp_path}"\nruntime_dir = "{tmp_path}/run"\n')
    identity = {
        "v": 1,
        "device": "d-aaaaaaaaaaaaaaaa",
        "project": "p-aaaaaaaaaaaaaaaa",
        "name": "pump-7",
        "grant_keys": [],
        "record_keys": [],
        "mqtt": {"host": "b", "port": 1},
    }
    (tmp_path / "identity.json").write_text(json.dumps(identity))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_text(
        json.dumps({"state": "SHUT", "link": "OFFLINE", "runner_code": "runner.unavailable"})
    )
    said = agent("--config", str(path), "status")
    assert said.returncode == 0
    assert "not running" in said.stdout
    assert "doorward-runner.socket" in said.stdout
    found = json.loads(agent("--config", str(path), "status", "--json").stdout)
    assert found["running"] is False
    assert found["device"] == "d-aaaaaaaaaaaaaaaa"
    assert not (tmp_path / "lock").exists()
