"""Install: everything that a relay needs on its machine, shown before it is written, and the one line for the console.

Only sets up what is ours: our own sshd's configuration, our own user, our own folders; for an embedded relay no more than
files of whoever runs it. Running it again keeps keys and
pairing, and writes the configuration anew from the flags; ``--pair-again`` withdraws the pairing for a new line.
"""

import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorward_protocol.joining import (
    TOKEN_BYTES,
    PairingLine,
    fingerprint_of,
    text_from_pairing,
    token_digest,
    token_from_bytes,
)

from doorward_relay.config import ConfigError, RelayConfig, text_from_config
from doorward_relay.edges import keys, sshd
from doorward_relay.edges.clock import clock
from doorward_relay.edges.files import make_folder, writable_by_others, write_whole
from doorward_relay.edges.store import Store
from doorward_relay.edges.users import make_tunnel_user
from doorward_relay.pairing import PairingOffer
from doorward_relay.sshd_text import sshd_config_text

_PENALTIES: Final = "PerSourcePenalties=no"


@dataclass(frozen=True, slots=True)
class Choices:
    """How to install.

    Attributes:
        config_file: where relay.toml is written.
        asks: show the sshd configuration and ask before anything is written.
        pairs_again: withdraw the pairing.
    """

    config_file: Path
    asks: bool
    pairs_again: bool


class Declined(Exception):
    """The operator said no; nothing was written."""


def install(config: RelayConfig, choices: Choices) -> str | None:
    """Set the relay up; gives the pairing line, or None when it is paired and stays so.

    Raises:
        ConfigError: something of the machine does not fit; each fault says what to do.
        Declined: the operator said no.
    """
    if config.is_embedded:
        return _install_embedded(config, choices)
    _check_machine(config)
    text = sshd_config_text(config, knows_penalties=_knows_penalties(config.sshd_program))
    _show(f"{config.sshd_config_file} will be:\n\n{text}", asks=choices.asks)
    make_tunnel_user(config.tunnel_user)
    _make_files(config, text)
    refused = sshd.fault_in(config.sshd_program, "-f", str(config.sshd_config_file))
    if refused is not None:
        raise ConfigError([f"sshd refuses {config.sshd_config_file}: {refused}"])
    make_folder(choices.config_file.parent, 0o755)
    write_whole(choices.config_file, text_from_config(config), 0o644)
    return _offer(config, again=choices.pairs_again)


def _install_embedded(config: RelayConfig, choices: Choices) -> str | None:
    text = text_from_config(config)
    made = "\n".join(f"  {path}" for path in (*_own_files(config), config.run_dir))
    _show(f"{choices.config_file} will be:\n\n{text}\nBesides, unless there:\n\n{made}\n", asks=choices.asks)
    try:
        for folder in (config.state_dir, config.run_dir):
            make_folder(folder, 0o700)
        _make_keys(config)
        choices.config_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(choices.config_file, text, 0o600)
    except OSError as error:
        told = f"{error.filename} cannot be written: {error.strerror}"
        raise ConfigError([f"{told}; give --config, --state-dir and --run-dir of this user's"]) from None
    return _offer(config, again=choices.pairs_again)


def _own_files(config: RelayConfig) -> tuple[Path, ...]:
    keys_of_ours = (config.host_key_file, config.tls_key_file, config.tls_certificate_file, config.record_key_file)
    return (*keys_of_ours, config.database_file)


def _check_machine(config: RelayConfig) -> None:
    faults = []
    if not config.sshd_program.exists():
        faults.append(f"sshd_program: {config.sshd_program} is missing; install OpenSSH's server (it need not run)")
    for name, folder in (("state_dir", config.state_dir), ("run_dir", config.run_dir)):
        open_folder = writable_by_others(folder)
        if open_folder is not None:
            faults.append(f"{name}: {open_folder} is not root's alone to write, and sshd trusts nothing below it")
    if faults:
        raise ConfigError(faults)


def _knows_penalties(program: Path) -> bool:
    """Ask sshd itself whether it has PerSourcePenalties, with a throw-away host key."""
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key"
        keys.make_host_key(key)
        return sshd.fault_in(program, "-f", "/dev/null", "-h", str(key), "-o", _PENALTIES) is None


def _show(text: str, *, asks: bool) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    if asks and _answer("Write this and set the relay up? [y/N] ") not in {"y", "yes"}:
        raise Declined


def _answer(question: str) -> str:
    try:
        return input(question).strip().lower()
    except EOFError:  # a script that says nothing; --yes is for it
        sys.stdout.write("\n")
        return ""


def _make_files(config: RelayConfig, text: str) -> None:
    make_folder(config.state_dir, 0o711)
    make_folder(config.sshd_config_file.parent, 0o755)
    make_folder(config.run_dir, 0o755)
    _make_keys(config)
    write_whole(config.sshd_config_file, text, 0o644)
    if not config.tunnel_ca_file.exists():
        write_whole(config.tunnel_ca_file, "", 0o644)


def _make_keys(config: RelayConfig) -> None:
    keys.make_host_key(config.host_key_file)
    keys.make_tls(config.tls_certificate_file, config.tls_key_file, config.host)
    keys.make_record_key(config.record_key_file)


def _offer(config: RelayConfig, *, again: bool) -> str | None:
    store = Store(config.database_file)
    try:
        if store.pinned() is not None and not again:
            return None
        token = token_from_bytes(secrets.token_bytes(TOKEN_BYTES))
        store.unpin(PairingOffer(token_digest(token), clock()))
    finally:
        store.close()
    fingerprint = fingerprint_of(keys.certificate_der(config.tls_certificate_file))
    host_key = keys.host_key_line(config.host_key_file)
    return text_from_pairing(PairingLine(config.host, config.control_port, fingerprint, token, host_key))
