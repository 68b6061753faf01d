"""Errors of this room, by whose fault they are and what to do about them.

``ConfigError``: the operator's; fix the file (exit 78). ``Unavailable``: the world's; try again. ``JoinFailed`` and
``AlreadyRunning`` end one command with a sentence. Refusals of orders are values, not errors (``admission.Refused``).
Anything else that is raised is our bug and ends the process.
"""

from collections.abc import Sequence

from doorward_protocol.reasons import reason_of


class ConfigError(Exception):
    """The configuration file has faults; all of them are in ``faults``."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__(f"{source} cannot be used:\n{lines}\nCorrect it and start again.")


class Unavailable(Exception):
    """Something outside did not answer; ``code`` is a reason code, ``detail`` is for the log."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        reason = reason_of(code)
        super().__init__(f"{reason.meaning} {detail}".strip())


class RunnerRefused(Exception):
    """The runner said no; ``code`` is its reason code."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class JoinFailed(Exception):
    """This machine did not join; ``code`` is a reason code whose next step is part of the sentence."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        reason = reason_of(code)
        super().__init__(" ".join(part for part in (reason.meaning, detail, reason.next, f"({code})") if part))


class NotJoined(Exception):
    """There is no identity in the state folder."""

    def __init__(self, state_dir: str) -> None:
        super().__init__(
            f"This machine has not joined: {state_dir} holds no identity. "
            "Run doorward-agent join, and paste the join line from the device's page."
        )


class AlreadyJoined(Exception):
    def __init__(self, device: str) -> None:
        super().__init__(
            f"This machine is joined already, as {device}. To join it anew, losing that identity and its journal's "
            "place in the history, run: doorward-agent join --again"
        )


class AlreadyRunning(Exception):
    def __init__(self, path: str, holder: str) -> None:
        super().__init__(
            f"Another doorward-agent runs here, process {holder or 'unknown'}: it holds {path}. "
            "Leave it at work, or end it first: systemctl stop doorward-agent"
        )
