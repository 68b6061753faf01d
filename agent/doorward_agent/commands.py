"""The commands: builds the edges from the configuration and hands them to whoever does the work."""

import json
import logging
import os
import signal
import sys
from typing import Any, Final

from doorward_protocol.fields import Malformed

from doorward_agent import VERSION
from doorward_agent.choices import Chosen
from doorward_agent.config import Config, config_from_file
from doorward_agent.edges import started
from doorward_agent.edges.files import DocumentStore, is_locked, lock_instance
from doorward_agent.edges.folders import made_runtime_dir, runtime_dir
from doorward_agent.errors import ConfigError, JoinFailed, NotJoined
from doorward_agent.identity import NAME, Identity, identity_from_document

_LONGEST_LINE: Final = 4096


def run_command(chosen: Chosen) -> int:
    """Do what the command line asks for."""
    config = config_from_file(chosen.config)
    if chosen.command == "join":
        return _join(config, _line() if chosen.line == "-" else chosen.line, is_again=chosen.is_again)
    if chosen.command == "status":
        return _status(config, as_json=chosen.as_json)
    if chosen.command == "rehearse":
        return _rehearse(config)
    if chosen.command == "forwards":
        from doorward_agent.edges.forwards_command import list_forwards, try_forward

        answer = try_forward(config, chosen.forward) if chosen.forward else list_forwards(config)
        if started.has_changed(DocumentStore(config.state_dir, runtime_dir(config)), config):
            sys.stdout.write(f"{started.RESTART}\n")
        return answer
    if chosen.command == "hooks":
        from doorward_agent.edges.hooks_command import list_hooks

        return list_hooks(config)
    return _run(config)


def _line() -> str:
    """Read the join line from standard input, and ask for it where a person sits there."""
    if sys.stdin.isatty():
        sys.stderr.write("Paste the join line from the device's page: ")
        sys.stderr.flush()
    return sys.stdin.readline(_LONGEST_LINE).strip()


def _identity(config: Config, store: DocumentStore) -> Identity:
    document = store.load(NAME)
    if document is None:
        raise NotJoined(str(config.state_dir))
    try:
        return identity_from_document(document)
    except Malformed as error:
        raise ConfigError(str(config.state_dir / "identity.json"), [str(error)]) from None


def _join(config: Config, text: str, *, is_again: bool) -> int:
    from doorward_protocol.joining import NotALine, join_from_text

    from doorward_agent.edges.joining import join

    try:
        line = join_from_text(text)
    except NotALine as error:
        raise JoinFailed("join.malformed", str(error)) from None
    identity = join(config, line, VERSION, is_again=is_again)
    sys.stdout.write(f"Joined as {identity.name} ({identity.device}). Start the agent: doorward-agent run\n")
    return 0


def _rehearse(config: Config) -> int:
    from doorward_agent.edges.rehearse_command import rehearse

    _identity(config, DocumentStore(config.state_dir, runtime_dir(config)))
    return rehearse(config)


def _run(config: Config) -> int:
    from doorward_agent import events
    from doorward_agent.edges.assembling import edges_of
    from doorward_agent.edges.libcrypto import found
    from doorward_agent.edges.memory import give_back
    from doorward_agent.edges.supervisor import Supervisor
    from doorward_agent.edges.threads import end_with_the_first
    from doorward_agent.mailbox import Mailbox
    from doorward_agent.runtime import Runtime
    from doorward_agent.signing import Signing

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("transitions").setLevel(logging.WARNING)  # it tells each callback
    if not config.state_dir.is_dir():
        raise NotJoined(str(config.state_dir))
    folder = made_runtime_dir(config)
    store = DocumentStore(config.state_dir, folder)
    identity = _identity(config, store)
    mailbox, supervisor = Mailbox(), Supervisor(os.environ)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: mailbox.post(events.StopRequested()))
    signal.signal(signal.SIGUSR1, lambda _number, _frame: mailbox.post(events.RehearsalWished()))
    lock_instance(config.state_dir)  # whoever finds our process id in it may send that signal
    started.note(store, config)
    edges = edges_of(config, identity, folder, store, mailbox.post)
    signing = Signing(
        identity, config.longest_session_s, config.login_user, (config.state_dir / "identity_key").read_bytes, found
    )
    runtime = Runtime(identity, signing, edges, VERSION, config.journal_max_bytes)
    give_back()
    end_with_the_first()
    runtime.run(mailbox, supervisor)
    return 0


def _status(config: Config, *, as_json: bool) -> int:
    store = DocumentStore(config.state_dir, runtime_dir(config))
    identity = _identity(config, store)
    is_running = is_locked(config.state_dir)
    status: dict[str, Any] = {
        "device": identity.device,
        "project": identity.project,
        "name": identity.name,
        "running": is_running,
        "version": VERSION,
        "config_changed": started.has_changed(store, config),
        **(store.load("status") or {}),
    }
    sys.stdout.write(json.dumps(status) + "\n" if as_json else _sentences(status))
    return 0


def _sentences(status: dict[str, Any]) -> str:
    """Say for people how things stand."""
    from doorward_protocol.reasons import reason_of

    lines = [
        f"{status['name']} ({status['device']}), agent {status['version']}, "
        + ("running" if status["running"] else "not running: start it with doorward-agent run"),
        f"door: {status.get('state', 'unknown')}" + (f", session {status['session']}" if status.get("session") else ""),
        f"link to the broker: {status.get('link', 'unknown')}",
    ]
    for name in ("code", "runner_code"):
        if status.get(name):
            reason = reason_of(status[name])
            lines.append(f"{status[name]}: {reason.meaning} {reason.next}")
    return "\n".join([*lines, *([started.RESTART] if status["config_changed"] else [])]) + "\n"
