"""``doorward-agent hooks``: what this device can do, with which hook, and why not more.

The runner is asked, for it alone judges a hook, as root and by its own configuration; no hook is run for it. The agent need
not run, and nobody has to have joined.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.commands import AGENT_VERBS
from doorward_protocol.reasons import reason_of

from doorward_agent.config import Config
from doorward_agent.edges.calls import started
from doorward_agent.edges.runner import asked
from doorward_agent.errors import RunnerRefused, Unavailable

DOES: Final[Mapping[str, str]] = {
    "factory-reset": "sets it back to how it left the factory",
    "health": "says whether it is well",
    "message": "shows a message on it",
    "reboot": "restarts it",
    "rehearse": "tries the way to the relay",
    "settings-apply": "changes its settings",
    "settings-read": "says how it is set, and what may be set",
    "settings-revert": "puts its settings back",
    "shutdown": "switches it off",
    "suspend": "lets it sleep",
    "system-info": "says what it is",
    "test-forward": "tries the way to a named target",
}
"""What each verb does with the device."""


def list_hooks(config: Config) -> int:
    """Print a line for each verb; gives the exit status: 1 where a hook is there and would not be run, or nobody can say."""
    try:
        answer = asked(config, {"verb": "hooks"}, started)
        hooks = fields.mappings(answer, "hooks", most=64)
        lines = [_line_of(one) for one in hooks] + [_line(verb, "by the agent itself") for verb in AGENT_VERBS]
        lines.append(f"Hooks are looked for in {', then in '.join(fields.texts(answer, 'folders', most=64))}.")
    except Unavailable as error:
        reason = reason_of(error.code)
        return _say(1, [f"{error.code}: {error} {reason.next}", "Only root and the agent's user are answered."])
    except RunnerRefused as error:
        return _say(1, [f"{error.code}: {error} {reason_of(error.code).next}"])
    except fields.Malformed as error:
        return _say(
            1, [f"runner.unavailable: the runner's answer cannot be read: {error}. Update agent and runner together."]
        )
    unsafe = reason_of("hook.unsafe")
    if not any(one.get("code") == unsafe.code for one in hooks):
        return _say(0, lines)
    return _say(1, [*lines, f"{unsafe.code}: {unsafe.meaning} {unsafe.next}"])


def _line_of(hook: Mapping[str, Any]) -> str:
    """Write what there is for a verb, as the runner says it; raises Malformed."""
    verb, code = fields.text(hook, "verb", longest=40), fields.text_or_none(hook, "code", longest=60)
    path, said = fields.text_or_none(hook, "path", longest=4_096), fields.text(hook, "said", longest=12_288)
    if code is None:
        return _line(verb, path or "")
    if code == "hook.missing":
        said = f"{path} is empty, which takes it away from this device" if path else "there is none"
    return _line(verb, f"{code}: {said}")


def _line(verb: str, found: str) -> str:
    return f"{verb:<15}  {DOES.get(verb, ''):<39}  {found}"


def _say(status: int, lines: Sequence[str]) -> int:
    sys.stdout.write("\n".join(lines) + "\n")
    return status
