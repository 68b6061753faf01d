"""``make demo`` and ``make smoke`` for an ordinary user: from nothing to a log-in and back, and nothing is left behind."""

import io
import json
import os
import re
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest
from demo.console import Console

from tests.flows.newcomer import Newcomer, newcomer_with_account, read_or_empty
from tests.house.machine import CHECKOUT
from tests.parts.files import write_whole
from tests.parts.installed import missing, require
from tests.parts.processes import PLAIN_ENVIRONMENT, run
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.real("root", "useradd")]
"""Root only to make the ordinary user."""


@pytest.fixture
def newcomer() -> Iterator[Newcomer]:
    """A newcomer, with an account that goes with the test."""
    with newcomer_with_account() as made:
        yield made


@pytest.mark.feature("T5", "P5")
@pytest.mark.parametrize("kind", ["embedded", "real"])
def test_smoke_when_run_by_an_ordinary_user_then_the_whole_way_works(newcomer: Newcomer, kind: str) -> None:
    """No root, nothing installed by hand or everything, a folder with spaces in its name: the same way, the same last line."""
    if kind == "real" and (reasons := [reason for part in ("mosquitto", "sshd", "ssh") if (reason := missing(part))]):
        pytest.skip("; ".join(reasons))
    ran = newcomer.run(sys.executable, CHECKOUT / "tests" / "smoke.py", kind, limit_s=150)
    assert ran.returncode == 0, ran.stderr.decode()[-6000:]
    result = json.loads(ran.stdout.splitlines()[-1])
    assert result["login"] == f"{newcomer.name}@{os.uname().nodename}"
    assert result["verified"]["holds"] is True
    assert ("embedded" in result["parts"]["broker"]) == (kind == "embedded")
    assert newcomer.left() == []
    assert [*(newcomer.folder / "home").iterdir()] == []


BARE = """
for program in ssh sshd mosquitto scp sftp; do
    for path in /usr/bin/$program /usr/sbin/$program; do [ ! -e $path ] || mount --bind /dev/null $path; done
done
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
ip link set lo up
exec "$@"
"""
"""Where OpenSSH and Mosquitto cannot be run and IPv6 is off, loopback included."""


@pytest.mark.feature("T5")
@pytest.mark.real("ip", "unshare")
def test_smoke_when_the_machine_is_bare_then_embedded_parts_and_a_library_do_it(newcomer: Newcomer) -> None:
    """No broker, no ssh client, no sshd, no IPv6: nobody has to say so, and the same way works."""
    bare = ["/usr/bin/unshare", "--mount", "--net", "--propagation", "private", "/bin/sh", "-ec", BARE, "sh"]
    command = newcomer.command(sys.executable, CHECKOUT / "tests" / "smoke.py")
    ran = run([*bare, *command], env=newcomer.environment, limit_s=150)
    assert ran.returncode == 0, ran.stderr.decode()[-6000:]
    parts = json.loads(ran.stdout.splitlines()[-1])["parts"]
    assert [parts[name] for name in ("broker", "relay", "door", "tunnel")] == [
        "embedded (amqtt)", "embedded (asyncssh)", "embedded (paramiko)", "paramiko",
    ]  # fmt: skip
    assert newcomer.left() == []


@pytest.mark.feature("E4")
@pytest.mark.real("ssh")
def test_demo_when_followed_as_printed_then_one_logs_in_and_ctrl_c_leaves_nothing(newcomer: Newcomer) -> None:
    """Address, owner, password and ssh line are used as they stand on the terminal; then Ctrl-C."""
    terminal = newcomer.demo("--parts", "embedded")
    terminal.logfile_read = whole = io.BytesIO()
    terminal.expect("Ctrl-C ends everything")
    said = re.sub(r"\x1b\[[0-9;]*[mK]", "", (terminal.before or b"").decode())
    found = {
        name: re.search(rf"^  {name} +(.+?)\s*$", said, re.MULTILINE)
        for name in ("console", "owner", "password", "log in")
    }
    words = {name: match.group(1) for name, match in found.items() if match is not None}
    assert set(words) == set(found), said
    root = next(newcomer.temporary.glob("doorward-demo-*/console/root-ca.pem"))
    console = Console(words["console"].split()[0], root)
    console.sign_in(words["owner"], words["password"])
    device = console.get(f"/projects/{console.project}/devices")[0]["id"]
    console.open_door(device, reason="ticket 4711")
    terminal.expect("ON: Start Remote M.")
    terminal.expect("the door is .*OPEN")
    line = words["log in"].replace("ssh ", "ssh -o BatchMode=yes ", 1)
    wait_until(
        lambda: newcomer.run("/bin/sh", "-c", f"{line} id -un").stdout.decode().strip() == newcomer.name,
        20,
        "the log-in",
    )
    second = newcomer.run(sys.executable, "-c", CLEAN_UP)
    assert second.stdout == b"[]\n", "a demo that starts beside this one leaves it alone"
    console.shut_door(device)
    terminal.expect("the door is .*SHUT")
    console.close()
    terminal.setecho(False)
    terminal.sendintr()
    while terminal.expect(["nothing is left", pexpect.TIMEOUT], timeout=0.05):  # ending takes a while: leaning on it
        terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert newcomer.left() == []
    assert kinds_of(README_SAYS) - kinds_of(whole.getvalue().decode()) == set()


(README_SAYS,) = re.findall(
    r"^```\n(- console: .*?)^```$", (CHECKOUT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)


def kinds_of(said: str) -> set[str]:
    """Give the lines without what is another one each time; a command is what it begins with."""
    plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", said)
    same = re.sub(
        r"\d\d:\d\d:\d\d|\d+\.\d s|/\S.*doorward-demo-\w+|(?<=localhost:)\d+|(?<=password  )\S+|(?<=account, )\w+",
        "…",
        plain,
    )
    return {line.partition(" -i ")[0].strip() for line in re.split(r"[\r\n]+", same)}


CLEAN_UP = "import sys; from demo.scratch import clean_up; import tempfile, pathlib; print(clean_up(pathlib.Path(tempfile.gettempdir())))"
"""What a demo does first."""


@pytest.mark.parametrize(
    "moment", ["console: database", "console: signer", "device: door", "Ctrl-C ends everything", "OPEN"]
)
def test_demo_when_killed_at_any_moment_then_the_next_start_cleans_up(newcomer: Newcomer, moment: str) -> None:
    """SIGKILL gives no chance to tidy up; whoever comes next ends what is left, the door too, and takes the folder away."""
    terminal = newcomer.demo("--parts", "embedded")
    if moment == "OPEN":
        terminal.expect("Ctrl-C ends everything")
        password = re.search(rb"password +(\S+)", terminal.before or b"")
        assert password is not None
        root = next(newcomer.temporary.glob("doorward-demo-*/console/root-ca.pem"))
        address = re.search(rb"https://localhost:\d+", terminal.before or b"")
        assert address is not None
        console = Console(address.group().decode(), root)
        console.sign_in("you@example.com", password.group(1).decode())
        console.open_door(console.get(f"/projects/{console.project}/devices")[0]["id"])
        console.close()
    terminal.expect("OPEN\x1b" if moment == "OPEN" else moment)  # and not at OPENING
    demo = the_demo(newcomer)
    for pid in newcomer.processes():
        if pid != demo:
            os.kill(pid, signal.SIGSTOP)  # what hangs does not end itself
    os.kill(demo, signal.SIGKILL)
    terminal.expect(pexpect.EOF)
    wait_until(lambda: lasting(newcomer) == [], 5, "the programs that die with the demo")
    assert any(b"doorward_door" in words_of(pid) for pid in newcomer.processes()) is (moment == "OPEN")
    assert len([*newcomer.temporary.iterdir()]) == 1
    started = newcomer.run(sys.executable, "-c", NEXT_START)
    assert started.stdout == b"started\n", started.stderr.decode()
    assert newcomer.left() == []


NEXT_START = """
from demo.scratch import scratch_folder
with scratch_folder():
    print("started")
"""


@pytest.mark.real("mosquitto")
def test_demo_when_a_step_is_slow_then_it_says_how_long_and_ctrl_c_again_and_again_ends_it_cleanly(
    newcomer: Newcomer,
) -> None:
    """Whoever waits sees that it lives; whoever is impatient presses again, and leaves nothing behind all the same."""
    slow = write_whole(newcomer.folder / "mosquitto", "#!/bin/sh\nexec sleep 600\n", 0o755)
    path = {"PATH": f"{slow.parent}:{newcomer.environment['PATH']}"}
    terminal = newcomer.demo(environment={**newcomer.environment, **path})
    terminal.expect(r"[|/\\-] broker: Mosquitto 3 s", timeout=60)
    modes = termios.tcgetattr(terminal.child_fd)
    modes[3] |= termios.NOFLSH  # else each press throws away what was not read yet, and here nobody reads meanwhile
    termios.tcsetattr(terminal.child_fd, termios.TCSANOW, modes)
    for _ in range(200):  # leaning on it
        terminal.sendintr()
    terminal.expect("nothing is left")
    terminal.expect(pexpect.EOF)
    assert b"nothing is left" not in (terminal.before or b"")
    terminal.close()
    assert terminal.exitstatus == 0
    assert newcomer.left() == []


def test_demo_when_the_terminal_is_plain_and_home_cannot_be_written_then_it_runs_and_says_all_in_plain_text(
    newcomer: Newcomer,
) -> None:
    """No TERM, colours not wanted, a read-only home: nothing but text, all of it; the window closed, nothing is left."""
    (newcomer.folder / "home").chmod(0o555)
    plain = {name: value for name, value in newcomer.environment.items() if name != "TERM"} | {"NO_COLOR": "1"}
    terminal = newcomer.demo("--parts", "embedded", environment=plain)
    terminal.expect("the door is SHUT")
    said = terminal.before or b""
    assert b"log in    ssh -i " in said
    assert not {0x1B, 0x08} & {*said}
    assert re.search(rb"\r(?!\n)", said) is None
    with suppress(pexpect.ExceptionPexpect):  # it takes its time
        terminal.close(force=False)  # hangs up
    wait_until(lambda: newcomer.left() == [], 30, "the demo's end")
    assert [*(newcomer.folder / "home").iterdir()] == []


def lasting(newcomer: Newcomer) -> list[int]:
    """Find the programs that the demo starts to go on beside it."""
    names = {b"broker", b"signer", b"worker", b"web", b"serve", b"run"}
    return [pid for pid in newcomer.processes() if names & {*words_of(pid)}]


def the_demo(newcomer: Newcomer) -> int:
    """Find the demo's own process, below the shell that made its surroundings."""
    (found,) = [pid for pid in newcomer.processes() if words_of(pid)[1:3] == [b"-m", b"demo"]]
    return found


def words_of(pid: int) -> list[bytes]:
    """Give a command line, and a last empty word."""
    return read_or_empty(Path(f"/proc/{pid}/cmdline")).split(b"\0")


def test_demo_when_run_by_root_then_it_says_why_not() -> None:
    """Its door opens the account of whoever runs it."""
    ran = run([sys.executable, "-m", "demo"], env={**PLAIN_ENVIRONMENT, "PYTHONPATH": str(CHECKOUT / "examples")})
    assert (ran.returncode, ran.stdout) == (os.EX_NOPERM, b"")
    assert b"ordinary user" in ran.stderr


def test_demo_when_its_user_has_no_account_then_it_says_so(newcomer: Newcomer) -> None:
    """In a container that runs as a number there is no name to log in as."""
    nameless: list[str | Path] = [require("unshare"), "--user", "--map-user=4242", sys.executable, "-m", "demo"]
    ran = newcomer.run(*nameless)
    assert (ran.returncode, ran.stdout) == (os.EX_UNAVAILABLE, b"")
    assert ran.stderr.startswith(b"uid 4242 has no account here")


def test_demo_when_a_real_part_is_missing_then_it_says_what_to_install(newcomer: Newcomer) -> None:
    """The sentence names the package and the other way."""
    words = [sys.executable, "-c", WITHOUT_MOSQUITTO]
    ran = newcomer.run(*words)
    assert ran.returncode == os.EX_UNAVAILABLE, ran.stderr.decode()
    assert b"apt install mosquitto" in ran.stderr
    assert newcomer.left() == []


WITHOUT_MOSQUITTO = """
import shutil, sys
from demo import parts
which = shutil.which
parts.found = lambda name: None if name == "mosquitto" else __import__("pathlib").Path("/bin/true")
from demo.__main__ import main
sys.exit(main(["--parts", "real"]))
"""
"""A machine where it is not installed; everything else is."""


@pytest.mark.parametrize("folder", ["/proc", "/nowhere", "full"])
def test_demo_when_it_cannot_have_its_folder_then_a_sentence_says_what_to_do(newcomer: Newcomer, folder: str) -> None:
    """A full disk, a folder that is not there or may not be written to: whose move it is, and no trace."""
    place = str(newcomer.temporary) if folder == "full" else folder
    small = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", SMALL, "sh", place]
    command = newcomer.command(sys.executable, "-m", "demo", "--parts", "embedded", "--folder", place)
    ran = run([*small, *command], env=newcomer.environment, limit_s=60)
    assert (ran.returncode, b"Traceback" in ran.stderr) == (1, False), ran.stderr.decode()
    assert place.encode() in ran.stderr
    assert b"make demo TMPDIR=" in ran.stderr


SMALL = """
place=$1; shift
case $place in /proc|/nowhere) ;; *) mount -t tmpfs -o size=2m,mode=777 tmpfs "$place" ;; esac
exec "$@"
"""


def test_demo_when_nobody_reads_what_it_says_then_it_ends_quietly(newcomer: Newcomer) -> None:
    """``make demo | head``: no trace, and nothing is left."""
    piped = 'set -o pipefail 2>/dev/null; "$@" | head -1'
    ran = newcomer.run("/bin/bash", "-c", piped, "bash", sys.executable, "-m", "demo", "--parts", "embedded")
    assert (ran.returncode, ran.stderr) == (1, b"")
    assert newcomer.left() == []


def test_demo_when_one_of_its_programs_is_killed_then_it_says_which(newcomer: Newcomer) -> None:
    """Whatever ends by itself is named, also where the console is what ended and cannot be asked."""
    terminal = newcomer.demo("--parts", "embedded")
    terminal.expect("the door is")
    folder = next(newcomer.temporary.glob("doorward-demo-*"))
    web = next(
        pid for pid in newcomer.processes() if b"doorward_console" in words_of(pid) and words_of(pid)[-2] == b"web"
    )
    assert folder.is_dir()
    os.kill(web, signal.SIGKILL)
    terminal.expect("web ended with -9")
    assert b"Traceback" not in (terminal.before or b"")
    terminal.expect(pexpect.EOF)
    assert newcomer.left() == []
