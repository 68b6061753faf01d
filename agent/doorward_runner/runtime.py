"""Where the runner's decisions meet the world: one request in, one answer out, under one lock.

The order of things is the safety of it. What is over is ended first, whoever asks for what. An order is judged
(``doorward_protocol.admission``), promised durably (``promise``), and only then acted on. A session is written down as ended
before its processes are ended. Called by ``__main__``.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from doorward_protocol.commands import RunCommand
from doorward_protocol.ids import DeviceId, ProjectId, SessionId
from doorward_protocol.orders import ApplySettings, ConfirmSettings, OpenDoor, Order, ShutDoor
from doorward_protocol.reasons import reason_of

from doorward_runner import VERSION, commands, hooking, requests, settings
from doorward_runner.choosing import CLOSERS, chosen_closer, chosen_door, door_command
from doorward_runner.config import RunnerConfig
from doorward_runner.contracts import Opening
from doorward_runner.edges import account, door, files, log, nonce_file
from doorward_runner.edges.door import Door
from doorward_runner.edges.memory import Pins
from doorward_runner.errors import Refused
from doorward_runner.promise import open_promise, shut_promise
from doorward_runner.requests import CloseSession, ObeyOrder, Request, TellCommand, TellHooks, TellSettings, TellStatus
from doorward_runner.runs import Answered, Runner, prepared

if TYPE_CHECKING:  # loads the signature library
    from doorward_protocol.admission import Standing

NOBODY: Final = Pins(DeviceId(""), ProjectId(""), ())
"""Before joining no key is pinned, and no order is for this device."""


def answer(config: RunnerConfig, request: Request) -> Mapping[str, Any]:
    """Do what ``request`` asks and give the line's content; refusals are answers too."""
    try:
        runner = prepared(config)
        with files.locked(config.run_dir / "lock"):
            answered = _answer(runner, request)
        return answered() if callable(answered) else answered
    except Refused as no:
        log.event("refused", code=no.code, detail=no.detail)
        meaning = reason_of(no.code).meaning
        return requests.refused(no.code, f"{meaning} ({no.detail})" if no.detail else meaning)
    except OSError as error:  # a full disk, a folder that is gone: the world's, not ours
        log.event("failed", error=error)
        return requests.refused("runner.failed", f"{reason_of('runner.failed').meaning} ({error.strerror})")


def clear(config: RunnerConfig) -> None:
    """End whatever is left and take its files away, and make the first nonce: at boot, before the agent asks."""
    runner = prepared(config)
    with files.locked(config.run_dir / "lock"):
        for left in door.found_doors(config.run_dir):
            _shut(runner, left, is_for_good=False)
        nonce_file.fresh_nonces(config.run_dir, runner.now)
    hooking.revert(config)


def _answer(runner: Runner, request: Request) -> Answered:
    match request:
        case CloseSession(session):
            return _close(runner, session)  # first and with the least: shutting has to work on a full disk
        case ObeyOrder(envelope, port):
            _end_what_is_over(runner)
            return _obey(runner, envelope, port, nonce_file.fresh_nonces(runner.config.run_dir, runner.now))
        case TellStatus():
            _end_what_is_over(runner)
            hooking.settle(runner)
            nonce_file.fresh_nonces(runner.config.run_dir, runner.now)
            return _status(runner)
        case TellSettings():
            hooking.settle(runner)
            return settings.answer(settings.last_settings(runner.memory))
        case TellCommand():
            return commands.told(runner.config, runner.memory, runner.now)
        case TellHooks():
            return {"ok": True, "folders": list(map(str, runner.config.hooks)), "hooks": _hooks(runner.config)}


def _hooks(config: RunnerConfig) -> list[dict[str, Any]]:
    """Say of each verb what there is for it; no hook is run for it."""
    from doorward_runner.edges import hooks  # here, for a door's order does not need it

    return [one._asdict() for one in hooks.found(config.hooks, owner=os.geteuid())]


def _end_what_is_over(runner: Runner) -> None:
    """Stand in for a closer that was prevented: end what is past its end, and what a killed runner left half done."""
    promised = runner.memory.promised()
    if promised.session is not None and promised.is_over(runner.now):
        _write_down_ended(runner, promised.session)
    ended = runner.memory.ended()
    is_this_boot = promised.boot == runner.now.boot
    for found in door.found_doors(runner.config.run_dir):
        if found.session in ended or found.session != promised.session or not is_this_boot:
            _shut(runner, found, is_for_good=is_this_boot)


def _status(runner: Runner) -> Mapping[str, Any]:
    """Say what is open; what is left of a door that died goes, log-ins too: nobody may be told to shut it any more."""
    verbs = [one["verb"] for one in _hooks(runner.config) if one["code"] is None]
    about = {"version": VERSION, "verbs": verbs}
    for found in door.found_doors(runner.config.run_dir):
        if door.answers(found, patience_s=5.0):
            return {"ok": True, "state": "open", **door.described(found), **about}
        _shut(runner, found, is_for_good=False)
    return {"ok": True, "state": "shut", "session": None, "port": None, **about}


def _close(runner: Runner, session: SessionId | None) -> Mapping[str, Any]:
    """Shut without asking for a signature: whoever may speak to us may always shut."""
    found = [each for each in door.found_doors(runner.config.run_dir) if session in (None, each.session)]
    if session is not None:
        _write_down_ended(runner, session, is_ours=session == runner.memory.promised().session)
    for each in found:
        _shut(runner, each, is_for_good=True)
    return requests.shut(session or (found[0].session if found else None))


def _obey(runner: Runner, envelope: bytes, port: int, nonces: tuple[str, ...]) -> Answered:
    from doorward_protocol import admission  # loads the signature library: only once there is a signature

    verdict = admission.judge(envelope, _standing(runner, nonces))
    if isinstance(verdict, admission.Refused):
        raise Refused(verdict.code)
    order = verdict.order
    if verdict.is_repeat and isinstance(order.body, RunCommand):
        return commands.told(runner.config, runner.memory, runner.now)
    if verdict.is_repeat and isinstance(order.body, ApplySettings):
        return settings.answer(settings.last_settings(runner.memory))
    made_s = nonce_file.made_s(runner.config.run_dir, order.runner_nonce)
    done = _carry_out(runner._replace(now=runner.now._replace(nonce_s=made_s)), order, port)
    # Only now: an order that could not be carried out (a busy port) may be tried again while it is fresh.
    nonce_file.use_up(runner.config.run_dir, str(order.runner_nonce), nonces, runner.now)
    return done


def _carry_out(runner: Runner, order: Order, port: int) -> Answered:
    match order.body:
        case OpenDoor():
            return _open(runner, order, order.body, port)
        case ShutDoor(session):
            return _obey_shut(runner, order, session)
        case RunCommand() as body:
            return hooking.run_command(runner, order, body)
        case ApplySettings(values):
            return hooking.try_settings(runner, order, values)
        case ConfirmSettings() as body:
            return settings.answer(settings.confirmed(runner.memory, body, runner.now))


def _standing(runner: Runner, nonces: tuple[str, ...]) -> "Standing":
    from doorward_protocol import admission
    from doorward_protocol.signature import KeyRing

    pins, promised = runner.memory.pins() or NOBODY, runner.memory.promised()
    command, tried = commands.last_command(runner.memory), settings.last_settings(runner.memory)
    return admission.Standing(
        device=pins.device,
        project=pins.project,
        keys=KeyRing(pins.grant_keys),
        nonces=nonces,
        held={
            "door": admission.Held(promised.revision, promised.digest),
            "command": admission.Held(command.revision, command.digest),
            "settings": admission.Held(tried.revision, tried.digest),
        },
        ended=runner.memory.ended(),
        policy=admission.DoorPolicy(runner.config.longest_session_s, runner.config.login_user),
        judges_as_runner=True,
    )


def _obey_shut(runner: Runner, order: Order, session: SessionId | None) -> Mapping[str, Any]:
    """Shut what is named, and whatever else is open: this is what is wanted now."""
    runner.memory.promise(shut_promise(order, runner.memory.promised(), runner.now))
    if session is not None:
        _write_down_ended(runner, session)
    found = door.found_doors(runner.config.run_dir)
    for each in found:
        _shut(runner, each, is_for_good=True)
    return requests.shut(session or (found[0].session if found else None))


def _open(runner: Runner, order: Order, body: OpenDoor, port: int) -> Mapping[str, Any]:
    promised = open_promise(order, body, runner.memory.promised(), runner.now, runner.config.longest_session_s)
    if promised is None:
        raise Refused("order.past-its-end")
    runner.memory.promise(promised)
    found = door.found_doors(runner.config.run_dir)
    others = [each for each in found if each.session != body.session]
    for other in others:
        _shut(runner, other, is_for_good=True)
    ended = others[0].session if others else None
    for same in found:
        if same.session == body.session:
            if door.answers(same, patience_s=5.0):  # starting it anew would throw out whoever is logged in
                door.change(same, body.login.authorized_keys, promised.ends_s)
                return requests.opened(door.described(same), ended)
            _shut(runner, same, is_for_good=False)
    opened = _start(runner, body, port, promised.ends_s)
    return requests.opened(door.described(opened), ended)


def _start(runner: Runner, body: OpenDoor, port: int, ends_s: float) -> Door:
    """Start a door where none is; leaves nothing behind when it fails."""
    config, closer = runner.config, chosen_closer(runner.config.closer)
    kind = chosen_door(config)
    account.check_login(config.login_user)
    door.check_port(port)
    folder, shares_user = door.folder_of(config.run_dir, body.session), account.shares_user(config.login_user)
    new = Door(folder, body.session, port, closer.name, body.banner, kind, shares_user)
    try:
        door.lay_out(new, body.login.authorized_keys, ends_s)
        command = door_command(config, runner.memory, new)
        closer.start(Opening(new.session, new.folder, runner.memory.ended_file, command, config.longest_session_s))
        door.wait_for_banner(new, config.sshd)
    except (Refused, OSError):
        _shut(runner, new, is_for_good=False)
        raise
    log.event("opened", session=new.session, port=port, door=kind, closer=closer.name, ends_s=int(ends_s))
    return new


def _shut(runner: Runner, found: Door, *, is_for_good: bool) -> None:
    """End everything behind a door and take its files away; ``is_for_good``: written down first, never to open again."""
    if is_for_good:
        _write_down_ended(runner, found.session)
    closers = [each for each in CLOSERS if each.name == found.closer] or [
        each for each in CLOSERS if each.is_possible()
    ]
    left = [closer.name for closer in closers if not closer.end(found.session, found.folder)]
    if left:
        raise Refused("door.not-ended", f"{found.session}: {', '.join(left)} goes on ending it")
    door.remove(found)
    log.event("shut", session=found.session, for_good=is_for_good)


def _write_down_ended(runner: Runner, session: SessionId, *, is_ours: bool = True) -> None:
    """Note that ``session`` never opens again; where the disk takes nothing any more, ending it goes on all the same."""
    try:
        runner.memory.end(session, is_ours=is_ours)
    except OSError as error:
        log.event("not-written", session=session, error=error)
