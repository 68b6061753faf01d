"""A trial on chosen parts, for a test: opens its door, says how to get in, and ends when its standard input does.

python trial_driver.py RELAY DOOR TUNNEL       each ``embedded``, or the real one's name: plain, sshd, ssh
"""

import json
import sys
from dataclasses import replace

from demo.parts import EMBEDDED, REAL, chosen
from demo.scratch import scratch_folder
from demo.trial import HOST, Trial


def main() -> None:
    """Do it."""
    relay, door, tunnel = (word != EMBEDDED for word in sys.argv[1:])
    real, ours = chosen(REAL), chosen(EMBEDDED)
    parts = replace(
        real,
        relay_sshd=(real if relay else ours).relay_sshd,
        door_sshd=(real if door else ours).door_sshd,
        tunnel_ssh=(real if tunnel else ours).tunnel_ssh,
    )
    with scratch_folder() as folder:
        trial = Trial(folder, parts, lambda what: print(what, file=sys.stderr, flush=True))
        try:
            trial.build()
            trial.console.open_door(trial.device)
            trial.keep_known_hosts(trial.console.wait_for_door(trial.device, "open"))
            way = {"host": HOST, "port": trial.ports.door, "user": trial.user, "key": str(trial.key)}
            print(json.dumps({**way, "known_hosts": str(trial.known_hosts), "alias": trial.device}), flush=True)
            sys.stdin.read()
        finally:
            trial.close()


if __name__ == "__main__":
    main()
