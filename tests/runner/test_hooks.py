"""Which hook is run, whose it has to be, and what its end means; as root and as an ordinary user."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doorward_runner.edges.hooks import VERBS

from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import missing, require
from tests.runner.conftest import Users
from tests.runner.hook_bench import Bench
from tests.runner.programs import ROOT


@pytest.fixture(params=["root", "rootless"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Folders of root's; or of an ordinary user's below /tmp, where others may write."""
    if request.param == "root":
        if (reason := missing("root")) is not None:
            pytest.skip(reason)
        with scratch_folder() as folder:
            yield Bench(folder / "b", "root").settle()
        return
    users: Users = request.getfixturevalue("users")
    top = Path(tempfile.mkdtemp(prefix="doorward-test-", dir="/tmp"))
    top.chmod(0o711)
    try:
        yield Bench(top / "a folder, with 'spaces' & co", users.login).settle()
    finally:
        shutil.rmtree(top)


def test_hook_when_run_then_it_has_its_document_and_nothing_else_of_ours(bench: Bench) -> None:
    """Document on standard input; no argument; a clean environment; the root folder; files that others may read."""
    report = 'printf \'{"in": %s, "argc": %s, "cwd": "%s", "umask": "%s"}\' "$(cat)" $# "$PWD" "$(umask)"'
    bench.hook("health", f'{report}; /usr/bin/env >"$DOORWARD_STATE/seen"; echo said >&2')
    document = {"verb": "health", "command": "c-aaaaaaaaaaaaaaaa", "arguments": {"text": "$(id) ' ü"}}
    ran = bench.run("health", document)
    assert (ran["code"], ran["status"], ran["said"]) == (None, 0, "said")
    assert ran["result"] == {"in": document, "argc": 0, "cwd": "/", "umask": "0022"}
    seen = dict(line.split("=", 1) for line in (bench.state / "seen").read_text().splitlines())
    python = seen.pop("DOORWARD_PYTHON")
    assert Path(python).is_absolute()
    assert {name: seen.pop(name) for name in ("PATH", "LC_ALL", "DOORWARD_VERB", "DOORWARD_STATE")} == {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "DOORWARD_VERB": "health",
        "DOORWARD_STATE": str(bench.state),
    }
    assert set(seen) <= {"PWD", "OLDPWD", "_", "SHLVL"}  # the shell's own


def test_hook_when_it_has_a_secret_then_no_process_shows_it(bench: Bench) -> None:
    """Neither an argument list nor an environment holds the document: every user may read those of others."""
    count = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c 'sEcReT[-]1' >&2"
    bench.hook("settings-apply", f"{count}\nexport SHOWN=sEcReT-1; sleep 0 & {count}\ncat >&2")
    none, shown, document = bench.run("settings-apply", {"passphrase": "sEcReT-1"})["said"].splitlines()
    assert (none, int(shown) > 0, document) == ("0", True, '{"passphrase": "sEcReT-1"}')


@pytest.mark.parametrize(
    ("ends", "code", "status"),
    [
        ("exit 0", None, 0),
        ("exit 64", "hook.bad-arguments", 64),
        ("exit 69", "hook.not-possible", 69),
        ("exit 75", "hook.try-later", 75),
        ("exit 1", "hook.failed", 1),
        ("exit 137", "hook.failed", 137),
        ("kill -9 $$", "hook.failed", 137),
        ("kill -6 $$", "hook.failed", 134),
    ],
)
def test_hook_when_it_ends_then_its_status_has_a_code(bench: Bench, ends: str, code: str | None, status: int) -> None:
    """Each status means one thing; a signal is told from the status that looks like it."""
    bench.hook("health", f"echo why >&2; {ends}")
    ran = bench.run("health")
    assert (ran["code"], ran["status"]) == (code, status)
    signal = f"\nSignal {ends[6]} ended it." if "kill" in ends else ""
    assert ran["said"] == f"why{signal}"


def test_hooks_when_the_site_has_its_own_then_they_come_before_ours(bench: Bench) -> None:
    """A site's hook overrides ours, also when it is unsafe; an empty one takes the verb away."""
    for verb in ("reboot", "suspend", "shutdown", "health", "message"):
        bench.hook(verb, "echo ours >&2", folder=bench.ours)
    bench.hook("reboot", "echo the site\\'s >&2")
    bench.hook("suspend", b"", mode=0o644)
    bench.hook("shutdown", "echo anybody\\'s >&2", mode=0o777)
    (bench.site / "message").symlink_to("nowhere")
    assert bench.run("reboot")["said"] == "the site's"
    assert bench.run("health")["said"] == "ours"
    assert bench.run("suspend")["code"] == "hook.missing"
    assert bench.run("shutdown")["code"] == "hook.unsafe"
    assert bench.run("message")["code"] == "hook.unsafe"
    assert bench.available() == ["health", "reboot"]


@pytest.mark.parametrize("verb", ["message", "../ours/reboot", "nothing", "/bin/true", ""])
def test_hook_when_it_is_missing_then_it_says_so_and_touches_nothing(bench: Bench, verb: str) -> None:
    """Only verbs that exist are looked for, only in the folders; a folder that is not there has none."""
    bench.hook("reboot", "touch /never", folder=bench.ours)
    shutil.rmtree(bench.site)
    assert bench.run(verb) == {"code": "hook.missing", "status": None, "said": "", "result": None, "lasted_ms": 0}
    assert list(bench.place.iterdir()) == []


NOBODY = 65_534
Spoiling = Callable[[Path], object]


def _mode(mode: int) -> Spoiling:
    return lambda path: path.chmod(mode)


def _nobodys(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def _link(path: Path) -> None:
    path.rename(path.with_name("true one"))
    path.symlink_to("true one")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o755)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir(0o755)


UNSAFE: dict[str, tuple[str, Spoiling, str]] = {
    "not executable": ("hook", _mode(0o644), "may execute"),
    "not executable by its owner": ("hook", _mode(0o655), "may execute"),
    "writable by its group": ("hook", _mode(0o775), "may write"),
    "writable by others": ("hook", _mode(0o757), "may write"),
    "of another user": ("hook", _nobodys, f"user {NOBODY}"),
    "a link": ("hook", _link, "links are not followed"),
    "a pipe": ("hook", _pipe, "may execute"),
    "a folder": ("hook", _folder, "may execute"),
    "in a folder that its group may write to": ("site", _mode(0o775), "may write"),
    "in a folder that all share": ("site", _mode(0o1777), "may write"),
    "in a folder of another user": ("site", _nobodys, f"user {NOBODY}"),
    "in a folder that is a link": ("site", _link, "links are not followed"),
    "below a folder that others may write to": ("top", _mode(0o757), "may write"),
    "below a folder of another user": ("top", _nobodys, f"user {NOBODY}"),
    "below a link": ("top", _link, "links are not followed"),
}


@pytest.mark.real("root")
@pytest.mark.parametrize("how", UNSAFE)
def test_hook_when_it_is_unsafe_then_it_is_not_run_and_the_reason_is_said(bench: Bench, how: str) -> None:
    """Whoever could change what root runs would be root."""
    hook = bench.hook("reboot", 'touch "$DOORWARD_STATE/ran"')
    where, spoil, why = UNSAFE[how]
    spoil({"hook": hook, "site": bench.site, "top": bench.top}[where])
    report = bench.report("reboot")
    (ran,) = report["answers"]
    assert (ran["code"], ran["status"], why in ran["said"]) == ("hook.unsafe", None, True), ran
    told = next(one for one in report["found"] if one["verb"] == "reboot")
    assert told == {"verb": "reboot", "path": None, "code": "hook.unsafe", "said": ran["said"]}
    assert not (bench.state / "ran").exists()


def test_hook_when_its_name_is_swapped_all_the_time_then_only_the_safe_one_ever_runs(bench: Bench) -> None:
    """What was judged is what runs: there is no moment between looking and opening."""
    bench.hook("good", "echo good >&2")
    bench.hook("evil", "echo evil >&2", mode=0o777)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for one in ("good", "evil"):
                os.link(bench.site / one, bench.site / "next")
                (bench.site / "next").rename(bench.site / "reboot")
                (bench.site / "next").unlink(missing_ok=True)  # renaming one name of a file over another does nothing

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        answers = []
        for _ in range(20):  # on a busy machine the two may keep step for a while
            answers += bench.report("reboot", times=150)["answers"]
            if {ran["code"] for ran in answers} > {"hook.unsafe"}:
                break
    finally:
        over.set()
        swapper.join()
    assert {(ran["code"], ran["said"]) for ran in answers if ran["code"] in (None, "hook.failed")} == {(None, "good")}
    assert {ran["code"] for ran in answers} == {None, "hook.unsafe"}


def test_hook_when_it_changes_while_it_is_copied_then_it_is_not_run(bench: Bench) -> None:
    """Half of the old and half of the new one is neither."""
    hook = bench.hook("reboot", "echo ran >&2; exit 0" + "\n#" * 20_000_000)
    over = threading.Event()

    def touch() -> None:
        while not over.is_set():
            os.utime(hook)

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        ran = bench.run("reboot")
    finally:
        over.set()
        toucher.join()
    assert (ran["code"], ran["said"].startswith("It was changed")) == ("hook.unsafe", True), ran


@pytest.mark.parametrize(
    ("prints", "code", "said"),
    [
        ("printf '{'", "hook.failed", "JSON object in UTF-8"),
        ("printf '[1]'", "hook.failed", "JSON object in UTF-8"),
        ("printf '{}{}'", "hook.failed", "JSON object in UTF-8"),
        ("""printf '{"a": NaN}'""", "hook.failed", "JSON object in UTF-8"),
        ("""printf '{"a": "\\377"}'""", "hook.failed", "JSON object in UTF-8"),
        ("""printf '{"a": "\\\\u0000"}'""", "hook.failed", "JSON object in UTF-8"),
        ("head -c 30000 /dev/zero | tr '\\0' '['", "hook.failed", "JSON object in UTF-8"),
        ("head -c 32769 /dev/zero | tr '\\0' ' '; echo '{}'", "hook.too-much", "32768"),
        ("""printf '{"a":"'; for i in $(seq 6000); do printf 'ü'; done; printf '"}'""", "hook.too-much", "32768"),
        ("printf '{'; exit 75", "hook.try-later", "JSON object in UTF-8"),
    ],
)
def test_hook_when_its_output_is_not_what_it_has_to_be_then_it_says_so(
    bench: Bench, prints: str, code: str, said: str
) -> None:
    """One JSON object that fits into a record, or nothing; where the hook has a code of its own, that stays."""
    bench.hook("system-info", prints)
    ran = bench.run("system-info")
    assert (ran["code"], ran["result"], said in ran["said"]) == (code, None, True), ran


def test_hook_when_it_prints_rubbish_on_standard_error_then_a_record_can_hold_it(bench: Bench) -> None:
    """No zero byte, no escape of a terminal's, no half letter; the end of it, and in the form of JSON at most 12 KiB."""
    bench.hook("health", "head -c 9000 /dev/urandom >&2; printf '\\nlast\\033[31m\\0\\377ü\\n' >&2")
    said = bench.run("health")["said"]
    assert said.endswith("\nlast?[31m??ü")
    assert len(json.dumps(said)) <= 12_288
    assert not set(said) & set("\0\x1b\x7f\ufffd")


@pytest.mark.parametrize(
    ("raw", "why"),
    [(b"#!/no/such/shell\n", "interpreter"), (b"exit 0\n", "first line"), (b"#!/bin/sh\r\nexit 0\n", "interpreter")],
)
def test_hook_when_nothing_can_run_it_then_the_reason_is_said(bench: Bench, raw: bytes, why: str) -> None:
    """The device maker's first mistakes, in words."""
    bench.hook("health", raw)
    ran = bench.run("health")
    assert (ran["code"], ran["status"], why in ran["said"]) == ("hook.not-started", None, True), ran


@pytest.mark.real("root", "unshare")
@pytest.mark.parametrize(
    ("options", "why"), [("noexec,mode=700", "noexec"), ("size=16k,mode=700", "No space left"), ("ro", "Read-only")]
)
def test_place_when_it_cannot_hold_or_run_a_copy_then_the_reason_is_said(options: str, why: str) -> None:
    """Nothing is run in part: neither from a full disk nor where nothing may be executed."""
    with scratch_folder() as folder:
        mount = f'mount -t tmpfs -o {options} tmpfs {folder}/b/place && exec "$@"'
        unshare = (str(require("unshare")), "--mount", "--propagation", "private", "/bin/sh", "-ec", mount, "sh")
        bench = Bench(folder / "b", "root", unshare).settle()
        bench.hook("health", "echo ran >&2; exit 0" + "\n#" * 20_000)
        ran = bench.run("health")
        assert (ran["code"], ran["status"], why in ran["said"]) == ("hook.not-started", None, True), ran


def test_place_when_a_runner_was_killed_then_what_it_left_is_replaced(bench: Bench) -> None:
    """A copy of before is never run, and does not stay."""
    write_whole(bench.place / "health", "#!/bin/sh\necho old >&2\n", 0o700)
    bench.hook("health", "echo new >&2")
    assert bench.run("health")["said"] == "new"
    assert [path.name for path in bench.place.iterdir()] == ["state"]


def test_example_when_taken_from_the_guide_then_it_runs(bench: Bench) -> None:
    """What a device maker copies from docs/hooks.md does what the page says."""
    page = (ROOT / "docs" / "hooks.md").read_text()
    bench.hook("health", page.partition("```sh\n")[2].partition("```")[0].encode())
    flow = bench.state / "flow"
    assert bench.run("health")["code"] == "hook.try-later"
    for litres, healthy in (("12\n", True), ("3\n", False)):
        write_whole(flow, litres)
        result = bench.run("health")["result"]
        seen = [{"name": "flow", "ok": healthy, "seen": f"{litres.strip()} l/min"}]
        assert result == {"healthy": healthy, "checks": seen}
    write_whole(flow, '1"$(reboot)')
    assert bench.run("health")["code"] == "hook.failed"


def test_contract_when_read_then_it_names_each_verb_and_each_code() -> None:
    """firmware-hooks/README.md is whole."""
    text = (ROOT / "firmware-hooks" / "README.md").read_text()
    assert [verb for verb in VERBS if f"| `{verb}` |" not in text] == []
    codes = ("bad-arguments", "not-started", "not-possible", "try-later", "failed", "too-slow", "too-much", "unsafe")
    assert [code for code in codes if f"`hook.{code}`" not in text] == []
