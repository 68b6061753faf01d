"""X.509 of an installation, as the strictest of its readers sees it."""

from datetime import datetime, timezone
from pathlib import Path

import pytest
from doorward_console.keys.x509 import CLIENT, SERVER, WEB_DAYS, Authority, new_root

from tests.parts.files import write_whole
from tests.parts.processes import run


@pytest.mark.parametrize("purpose", [CLIENT, SERVER])
def test_certificate_when_judged_by_the_strictest_reader_then_its_chain_holds(scratch: Path, purpose: object) -> None:
    """Python 3.13 reads certificates strictly (RFC 5280): a chain that names no authority key is refused there."""
    now = datetime.now(timezone.utc)
    root = new_root("doorward root", now)
    authority = Authority(root.chain_pem, root.private_der)
    if purpose is CLIENT:
        below = authority.intermediate("device CA", now)
        authority = Authority(below.chain_pem, below.private_der, below.chain_pem)
    leaf = authority.issue("worker-1", CLIENT if purpose is CLIENT else SERVER, now, WEB_DAYS, hosts=("127.0.0.1",))
    write_whole(scratch / "root.pem", root.chain_pem)
    write_whole(scratch / "chain.pem", leaf.chain_pem)
    kind = "sslclient" if purpose is CLIENT else "sslserver"
    done = run([
        "/usr/bin/openssl", "verify", "-x509_strict", "-purpose", kind, "-CAfile", scratch / "root.pem",
        "-untrusted", scratch / "chain.pem", scratch / "chain.pem",
    ])  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
