"""The command line: one request on standard input, one answer on standard output, gone.

    doorward-runner [--config FILE]              answer one request (the socket and sudoers reach this alone)
    doorward-runner [--config FILE] prepare      root, at joining: make the door's host key, print its public half
    doorward-runner [--config FILE] pin [--again]  root, at joining: pin what is on standard input
    doorward-runner [--config FILE] clear        root, at boot: end what is left
    doorward-runner [--config FILE] revert       root: put settings back whose trial is over

With ``rootless`` in the configuration root is the ordinary user that runs all of it.

Parsed by hand: argparse would cost each opening 10 ms. Exit status 0 also for a refusal, which is an answer; 64 for a wrong
command line, 78 for a wrong configuration (sysexits.h), 1 where pinning was refused.
"""

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from doorward_runner.config import DEFAULT_PATH, config_from_file
from doorward_runner.edges import account
from doorward_runner.edges.log import complain
from doorward_runner.errors import ConfigError

USAGE: Final = "usage: doorward-runner [--config FILE] [prepare | pin [--again] | clear | revert]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit status."""
    # One request, and gone: looking for what nobody holds any more, at last once through everything, would be a seventh of it.
    gc.disable()
    atexit.register(gc.freeze)
    os.umask(0o077)
    words = list(sys.argv[1:] if arguments is None else arguments)
    path, words = (Path(words[1]), words[2:]) if words[:1] == ["--config"] and words[1:] else (DEFAULT_PATH, words)
    if words not in ([], ["prepare"], ["pin"], ["pin", "--again"], ["clear"], ["revert"]):
        complain(USAGE)
        return os.EX_USAGE
    if find_spec("cryptography") is None:  # looked for, not loaded: only orders need it
        complain("a library is missing; install doorward[agent]")
        return os.EX_UNAVAILABLE
    return _run(path, words)


def _run(path: Path, words: Sequence[str]) -> int:
    try:
        config = config_from_file(path)
        if os.geteuid() != 0 and not config.rootless:
            complain("is the agent's root half and has to be root, or has to have rootless = true in its configuration")
            return os.EX_NOPERM
        account.check_ourselves(config)
        if words in (["clear"], ["revert"]):
            from doorward_runner import hooking, runtime

            runtime.clear(config) if words == ["clear"] else hooking.revert(config)
            return os.EX_OK
        if words:
            from doorward_runner.edges import joining_line

            return joining_line.run(config, words)
        from doorward_runner.edges import request_line

        return request_line.run(config)
    except ConfigError as error:
        for fault in error.faults:
            complain(fault)
        return os.EX_CONFIG


if __name__ == "__main__":
    sys.exit(main())
