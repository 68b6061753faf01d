"""``prepare`` and ``pin`` at root's shell: what stands on standard input and output around ``joining``."""

import os
import sys
from collections.abc import Sequence

from doorward_runner import joining
from doorward_runner.config import RunnerConfig
from doorward_runner.edges import clock, files, nonce_file
from doorward_runner.edges.log import complain
from doorward_runner.edges.memory import Memory
from doorward_runner.edges.request_line import MOST_BYTES, READ_WAIT_S, read_line


def run(config: RunnerConfig, words: Sequence[str]) -> int:
    """Run ``prepare`` or ``pin [--again]``; gives the exit status."""
    files.prepare_folder(config.state_dir, mode=0o700)
    memory = Memory(config.state_dir)
    try:
        if words[0] == "prepare":
            sys.stdout.write(joining.line_from_prepared(joining.prepared(memory)))
            return os.EX_OK
        joining.pin(memory, read_line(0, MOST_BYTES, READ_WAIT_S) or b"", is_again="--again" in words)
        files.prepare_folder(config.run_dir, mode=0o755)
        nonce_file.fresh_nonces(config.run_dir, clock.now())  # the agent's first ask already has one to send
    except joining.CannotPin as error:
        complain(str(error))
        return 1
    return os.EX_OK
