"""``make demo``: the whole of doorward on this machine, as an ordinary user, until Ctrl-C.

Examples:
  make demo                      real parts where they are installed, ours where not
  make demo PARTS=embedded       nothing but Python: no Mosquitto, no OpenSSH
  make demo PARTS=real           Mosquitto and OpenSSH, or a sentence that says what to install

exit status: 0 ended by Ctrl-C · 1 something failed, and what · 69 a part is missing · 77 run by root
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx

from demo.children import Failed
from demo.parts import AUTO, CHOICES, Lacking, chosen
from demo.room import ELSEWHERE, check_room
from demo.scratch import scratch_folder
from demo.telling import Telling
from demo.trial import Trial

_LOOK_S: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and give the exit status."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", choices=CHOICES, default=AUTO)
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made; default: TMPDIR, or /tmp")
    asked = parser.parse_args(arguments)
    if os.geteuid() == 0:
        sys.stderr.write("The demo is for an ordinary user: its door opens that user's own account. Run it as one.\n")
        return os.EX_NOPERM
    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    return _in_a_folder(asked, Telling(sys.stdout))


def _in_a_folder(asked: argparse.Namespace, telling: Telling) -> int:
    status = 1
    try:
        with scratch_folder(asked.folder) as folder:
            check_room(folder)
            status = _run(Trial(folder, chosen(asked.parts), _heeding(telling)), telling)
    except Lacking as lacking:
        sys.stderr.write(f"{lacking}\n")
        status = os.EX_UNAVAILABLE
    except KeyboardInterrupt:
        telling.end("ended while starting; nothing is left")
        status = 0
    except Failed as failed:
        telling.failed(str(failed))
    except BrokenPipeError:  # nobody reads what we say: it is ended, and there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        telling.failed(f"{error.filename or 'The scratch folder'}: {error.strerror}. {ELSEWHERE}")
    return status


def _run(trial: Trial, telling: Telling) -> int:
    try:
        trial.build()
        telling.ready(trial)
        _watch(trial, telling)
    except KeyboardInterrupt:
        telling.step("ending")
        return 0
    except Failed as failed:
        telling.failed(str(failed))
        return 1
    except (AssertionError, httpx.HTTPError) as error:  # the console does not answer, or not as it should
        telling.failed(trial.children.who_ended(patience_s=2) or f"The console: {error or type(error).__name__}")
        return 1
    finally:
        _hear_no_more()
        trial.close()
        telling.end("ended; nothing is left")
    return 1


def _watch(trial: Trial, telling: Telling) -> None:
    """Show each line of the history as it comes, and the door, until Ctrl-C or until a program ends by itself."""
    telling.lines(trial.console.lines(), is_known=True)
    door: dict[str, Any] = {"state": "shut"}
    while True:
        door = trial.console.get(f"/devices/{trial.device}/door", wait=_LOOK_S, state=door["state"])
        trial.keep_known_hosts(door)
        telling.lines(trial.console.lines())
        telling.door(door)
        trial.children.check()
        time.sleep(0.1)
        if _told:
            raise KeyboardInterrupt


_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_told: Final[list[int]] = []
"""Signals that came: an exception that a signal raises within a library's clean-up is lost."""


def _heeding(telling: Telling) -> Callable[[str], None]:
    """Say each step, and begin none once a signal has come."""

    def say(what: str) -> None:
        if _told:
            raise KeyboardInterrupt
        telling.step(what)

    return say


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _hear_no_more()
    _told.append(number)
    raise KeyboardInterrupt


def _hear_no_more() -> None:
    """End in peace: a second Ctrl-C, or a terminal that is closed after it, must not leave half of it running."""
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
