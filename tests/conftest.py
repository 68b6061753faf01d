"""The harness: scratch folders, started programs, real parts, and skips that say what is missing."""

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]
from xdist.workermanage import NodeManager  # type: ignore[import-untyped]

from tests.parts import files
from tests.parts.certificates import Authority, make_root
from tests.parts.files import scratch_folder
from tests.parts.installed import missing
from tests.parts.mosquitto import Broker, start_mosquitto
from tests.parts.postgres import Postgres, start_postgres
from tests.parts.processes import Programs
from tests.parts.tls import close_failed_handshakes
from tests.parts.trial_broker import start_trial_broker

# Examples are timed by pytest-timeout: a limit for each one fails on a busy machine and finds nothing.
settings.register_profile("doorward", deadline=None, print_blob=True)
settings.load_profile("doorward")


_AROUND_ONE_HOUSE: Final = (
    "bad_days", "clients", "closers", "device_key", "forwards_end", "half_open", "plain_relay", "rehearsals", "threats", "tunnels", "two_owners",
    "way_through",
)  # fmt: skip
"""Files of tests/flows that share a house, which takes 15 s to build: whoever asks for it belongs here, or builds another."""


_LONGEST: Final = (
    "flows/test_way_through", "lab/test_faults", "runner/test_closing", "flows/test_demo", "relay/test_ending", "flows/test_commands",
    "browser/test_whole_way", "browser/test_first_minutes", "runner/test_settings", "relay/test_embedded_registers",
    "flows/test_operations", "relay/test_full_disk", "browser/test_flows", "runner/test_hostile", "relay/test_reaper", "runner/test_network_managers",
    "browser/test_commands", "relay/test_vanishing", "flows/test_killed", "runner/test_killed", "console/test_worker", "door/test_bad_days",
    "console/test_init", "relay/test_embedded", "relay/test_records", "runner/test_door", "runner/test_power", "agent/test_bad_days",
    "browser/test_gallery", "agent/test_orders", "agent/test_carrying", "relay/test_supervisor", "flows/test_forwards",
    "relay/test_embedded_load", "relay/test_agents_tunnel", "console/test_supervisor",
    "runner/test_rootless", "console/test_signer_process", "flows/test_smoke", "runner/test_commands", "runner/test_secrets",
    "console/test_settings_valid", "relay/test_pairing", "runner/test_booted",
)  # fmt: skip
"""Files that take twenty seconds and more (of two groups the first file), the longest first: begun last, one would keep a process busy alone."""


def pytest_configure(config: pytest.Config) -> None:
    """Take everything down also where the run is ended from outside (timeout(1), a CI's limit): as Ctrl-C does, with all fixtures.

    Folders of ``tmp_path`` go, too. pytest's own place for them is every run's of this user: of two that end at once one fails by what
    the other clears away, and three runs' folders stay. With ``--basetemp`` they stay where one wants them.
    """
    # xdist kills what has not ended in 10 s; a house takes longer.
    signal.signal(signal.SIGTERM, _end_once)
    NodeManager.EXIT_TIMEOUT = 60
    files.IN_MEMORY[0] = True
    close_failed_handshakes()
    if config.option.basetemp is None:
        folder = Path(tempfile.mkdtemp(prefix="doorward-pytest-"))
        files.keep_in_memory(folder)
        config.option.basetemp = str(folder / "all")
        config.add_cleanup(lambda: files.remove(folder))


def _end_once(number: int, frame: object) -> NoReturn:
    """End as at Ctrl-C; what comes after it (a process of several hears it from its group, too) does not stop the taking down."""
    for after in (signal.SIGTERM, signal.SIGINT):
        signal.signal(after, lambda *_: None)  # not SIG_IGN, which what is started then would inherit
    raise KeyboardInterrupt


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the others stay as they are, and so does each file's own order."""
    ranks = {f"tests/{name}.py": rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


def pytest_collection_finish() -> None:
    """Look for garbage from now on only among what the tests make: what was loaded for them is a million objects, and stays."""
    gc.collect()
    gc.freeze()


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps a file's tests in one process where several run, and all that share a house or the lab in one.

    xdist's own groups (``--dist loadgroup``) do nothing under pytest 9: each test went by itself, and each process built everything.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder, _, name = file.rpartition("/test_")
        is_shared = folder == "tests/lab" or (folder == "tests/flows" and name.removesuffix(".py") in _AROUND_ONE_HOUSE)
        return folder if is_shared else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Say which test goes to which process (a hook of xdist)."""
    return Together(config, log)


def pytest_xdist_setupnodes() -> None:
    """Let each process configure a console of its own, also where collecting has already done so in this one."""
    for name in ("DJANGO_SETTINGS_MODULE", "DOORWARD_CONSOLE_CONFIG"):
        os.environ.pop(name, None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real parts are not installed, naming each and its package."""
    wanted = [part for mark in item.iter_markers("real") for part in mark.args]
    reasons = [reason for part in wanted if (reason := missing(part)) is not None]
    if reasons:
        pytest.skip("; ".join(reasons))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that was skipped, and why: pytest's own summary folds them by reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("not run on this machine")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.line(f"SKIPPED {report.nodeid}: {str(reason).removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def django_db_modify_db_settings_xdist_suffix() -> None:
    """Leave the database's name alone where tests run side by side: each process has a folder of its own for it."""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder of mode 0711 that every system user can pass, and whose parents sshd accepts."""
    with scratch_folder() as folder:
        yield folder


@pytest.fixture
def programs(scratch: Path) -> Iterator[Programs]:
    """Starts programs; all of them are ended by pid after the test."""
    started = Programs(scratch)
    yield started
    started.end_all()


@pytest.fixture
def root_authority() -> Authority:
    """An installation's root CA."""
    return make_root()


@pytest.fixture
def broker(programs: Programs, scratch: Path) -> Broker:
    """A real Mosquitto with topic rights; replicas are ``worker-1`` and ``worker-2``."""
    return start_mosquitto(programs, scratch / "mosquitto")


@pytest.fixture
def broker_kind() -> str:
    """Which broker ``any_broker`` is; a test that is for both names both."""
    return "mosquitto"


@pytest.fixture
def any_broker(broker_kind: str, programs: Programs, scratch: Path) -> Broker:
    """A broker of the kind that is asked for."""
    if broker_kind == "trial":
        return start_trial_broker(programs, scratch / "broker")
    reason = missing("mosquitto")
    if reason is not None:
        pytest.skip(reason)
    return start_mosquitto(programs, scratch / "mosquitto")


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run: starting it takes seconds."""
    with scratch_folder() as folder:
        programs = Programs(folder)
        try:
            cluster = start_postgres(programs, folder / "postgres")
            yield cluster
            assert cluster.program.end(limit_s=30) == 0, "it was killed, and left its shared memory behind"
        finally:
            programs.end_all()


@pytest.fixture
def postgres(postgres_cluster: Postgres) -> str:
    """The URL of an empty PostgreSQL database."""
    return postgres_cluster.new_database("doorward")
