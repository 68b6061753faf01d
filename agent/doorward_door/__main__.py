"""The embedded door's command line: ``python -m doorward_door FOLDER``, started by the runner and by nobody else.

As root it reads what only root may (its settings, the host key) and loads every module, and then it becomes the login user for
good, before it listens: root never speaks to strangers.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from doorward_door import host_key, listening, privileges, settings


def main() -> int:
    """Be the door of the folder that the command line names; returns when its end is reached."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m doorward_door FOLDER\n")
        return os.EX_USAGE
    chosen = settings.settings_from_folder(Path(sys.argv[1]))
    keys = host_key.keys_from_files(chosen.host_key, chosen.host_certificate)
    signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # under nohup it is ignored, and every engineer's command would inherit that
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    logging.getLogger("paramiko").propagate = False  # what strangers say is no business of any log
    privileges.become(chosen.login_user)
    listening.Listener(chosen, keys).serve()
    return os.EX_OK


if __name__ == "__main__":
    status = main()
    os._exit(status)  # threads that still write to somebody are not waited for: the end is the end
