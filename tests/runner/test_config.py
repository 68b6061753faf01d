"""The runner's configuration file."""

from pathlib import Path

import pytest
from doorward_runner.config import RunnerConfig, config_from_file
from doorward_runner.errors import ConfigError

from tests.parts.files import write_whole
from tests.parts.processes import run
from tests.runner.programs import ROOT, RUNNER


def test_config_when_it_has_many_faults_then_all_are_named_at_once(tmp_path: Path) -> None:
    """Whoever mends the file mends it once."""
    path = write_whole(
        tmp_path / "runner.toml",
        'state_dir = "var"\nrun_dir = 3\nsshd = "/a%b"\nrootless = 1\ndoor = "back"\nlogin_user = "root"\nagent_user = ""\n'
        'longest_session_s = true\ncloser = "none"\ncolour = "red"\n',
    )
    with pytest.raises(ConfigError) as raised:
        config_from_file(path)
    named = " ".join(raised.value.faults)
    assert len(raised.value.faults) == 10
    keys = (
        "state_dir",
        "run_dir",
        "sshd",
        "login_user",
        "agent_user",
        "longest_session_s",
        "closer",
        "colour",
        "rootless",
        "door",
    )
    assert all(key in named for key in keys)


@pytest.mark.parametrize("name", ["a b", "jürgen's", "#1, @home!"])
def test_config_when_a_path_has_odd_characters_then_it_may(tmp_path: Path, name: str) -> None:
    """Quotes hold them in sshd_config; only what quotes cannot hold is refused."""
    path = write_whole(tmp_path / "runner.toml", f'run_dir = "/srv/{name}"\n')
    assert config_from_file(path).run_dir == Path("/srv") / name


@pytest.mark.parametrize("text", ["state_dir = ", "\xff"])
def test_config_when_it_cannot_be_read_then_the_fault_names_the_file(tmp_path: Path, text: str) -> None:
    """A file that is no TOML is one fault."""
    path = write_whole(tmp_path / "runner.toml", text.encode("latin-1"))
    with pytest.raises(ConfigError) as raised:
        config_from_file(path)
    assert str(path) in raised.value.faults[0]


def test_config_when_a_named_file_is_missing_then_that_is_a_fault(tmp_path: Path) -> None:
    """Only the usual place may be empty: a wrong path must not mean other folders."""
    with pytest.raises(ConfigError):
        config_from_file(tmp_path / "absent.toml")


def test_example_when_read_then_it_states_every_key_with_its_default() -> None:
    """The example is the documentation of the file."""
    path = ROOT / "examples" / "runner.toml"
    assert config_from_file(path) == RunnerConfig(source=path)
    keys = {line.removeprefix("# ").partition(" = ")[0] for line in path.read_text().splitlines() if " = " in line}
    assert {name for name in keys if name.isidentifier()} - {"runner", "runner_command"} == set(
        RunnerConfig._fields
    ) - {"source"}


@pytest.mark.real("root")
def test_runner_when_configuration_is_wrong_then_it_exits_78_and_says_each_fault(tmp_path: Path) -> None:
    """EX_CONFIG, one line a fault, nothing on standard output."""
    path = write_whole(tmp_path / "runner.toml", 'login_user = "root"\ncolour = "red"\n')
    ran = run([RUNNER, "--config", path])
    assert (ran.returncode, ran.stdout) == (78, b"")
    assert ran.stderr.count(b"\n") == 2


@pytest.mark.parametrize("words", [["--config"], ["open"], ["pin", "--force"], ["--help"], ["prepare", "prepare"]])
def test_runner_when_command_line_is_unknown_then_it_exits_64(words: list[str]) -> None:
    """A fixed handful of command lines, nothing guessed."""
    ran = run([RUNNER, *words])
    assert ran.returncode == 64
    assert ran.stderr.startswith(b"doorward-runner: usage")
