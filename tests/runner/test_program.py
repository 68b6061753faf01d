"""The program as a whole: what it loads, what it says, how long it takes."""

import ast
import importlib.metadata
import io
import json
import sys
import time
import tokenize
from pathlib import Path

import doorward_runner
import pytest

from tests.parts.processes import run
from tests.runner.programs import ROOT, RUNNER
from tests.runner.site import Site

_LOADED = """
import io, os, sys
from doorward_runner.__main__ import main
status = main(["--config", sys.argv[1]])
print(status, [name for name in sys.modules if name.partition(".")[0] in ("cryptography", "argparse", "ctypes")])
"""
_ORDERED = """
import sys
from doorward_runner import runtime, requests
from doorward_runner.edges import request_line
from doorward_protocol import admission, signature
print([name for name in ("dataclasses", "inspect", "argparse", "ctypes") if name in sys.modules])
"""


def test_runner_when_asked_for_status_then_no_signature_library_is_loaded(site: Site) -> None:
    """Only an order needs it: status is asked often, on small machines."""
    ran = run([sys.executable, "-c", _LOADED, str(site.config)], stdin=b'{"verb":"status"}\n')
    answer, loaded = ran.stdout.decode().splitlines()
    assert json.loads(answer)["state"] == "shut"
    assert loaded == "0 []"


def test_runner_when_it_is_given_an_order_then_it_loads_nothing_that_makes_classes_slowly() -> None:
    """Each opening starts a runner: dataclasses alone would cost it a quarter of its processor time."""
    assert run([sys.executable, "-c", _ORDERED]).stdout.decode().strip() == "[]"


def test_runner_when_it_names_its_version_then_it_is_the_distributions(site: Site) -> None:
    """One version for all rooms."""
    assert importlib.metadata.version("doorward") == doorward_runner.VERSION
    assert site.ask({"verb": "status"})["version"] == doorward_runner.VERSION


def test_runner_when_orders_are_obeyed_and_refused_then_nothing_secret_is_logged(site: Site) -> None:
    """Events with fields: no key, nonce, payload or banner on standard error."""
    site.ask({"verb": "status"})
    nonce = site.nonces()[0]
    for port in (0, 1):
        envelope = site.envelope(site.body(site.new_session()))
        request = {"verb": "order", "envelope": envelope if port else {}, "port": 40_000 + port}
        said = site.as_root(stdin=json.dumps(request).encode()).stderr.decode()
        engineer = site.key.with_suffix(".pub").read_text().split()[1]
        assert "doorward-runner:" in said or Path("/dev/log").exists()
        assert not any(secret in said for secret in (nonce, engineer, envelope["payload"][:40]))


def test_runner_when_door_is_opened_then_its_answer_does_not_wait_for_the_door(site: Site) -> None:
    """The answer comes and the runner is gone while the door stays: nothing holds the agent's pipe open."""
    started = time.monotonic()
    site.open()
    assert time.monotonic() - started < 5
    assert run([RUNNER, "--config", site.config], stdin=b'{"verb":"status"}').returncode == 0


def _code_lines(source: str) -> int:
    """Count the lines on which a statement stands: no blank, comment or docstring."""
    tree = ast.parse(source)
    is_text = (node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    texts = {line for node in is_text for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    return len({token.start[0] for token in tokens if token.type not in silent} - texts)


def test_runner_when_an_auditor_comes_then_it_is_small() -> None:
    """The root half can be read in an hour: no file of 300 lines, at most 1,950 lines of code in all."""
    sources = [path.read_text() for path in (ROOT / "agent" / "doorward_runner").rglob("*.py")]
    assert max(source.count("\n") for source in sources) < 300
    assert sum(_code_lines(source) for source in sources) <= 1_950


@pytest.mark.real("root")
def test_runner_when_not_root_then_it_says_so(site: Site) -> None:
    """Without its rights it does nothing at all."""
    code = "import os, sys; from doorward_runner.__main__ import main; os.seteuid(65534); sys.exit(main([]))"
    ran = run([sys.executable, "-c", code])
    assert (ran.returncode, ran.stdout) == (77, b"")
    assert b"root" in ran.stderr
