"""``doorward-console broker-config DIR``: Mosquitto's configuration, topic rights and certificates, ready to start.

A name at the broker is what the client's certificate says, and nothing else counts: not the user name it sends, not its
client id. Source: mosquitto.conf(5); docs/protocol.md §2.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from django.conf import settings
from doorward_protocol.envelope import MAX_BYTES

from doorward_console.broker_rights import acl_text
from doorward_console.config import Config
from doorward_console.edges.key_files import SECRET_MODE, Owner, write_new
from doorward_console.edges.system_users import ensure_folder, owner_named

_OPEN_MODE: Final = 0o644
_LARGEST_PACKET: Final = 4 * MAX_BYTES
"""An envelope of 64 KiB and its topic, with room for the next version."""


def run(arguments: argparse.Namespace) -> int:
    """Write the folder; gives 1 when there is a configuration in it already."""
    config: Config = settings.CONFIG
    folder: Path = arguments.folder.absolute()
    # Mosquitto that root starts becomes its own user; one that anybody else starts stays that user.
    owner = (owner_named(arguments.user or "mosquitto") if os.geteuid() == 0 else None) or Owner()
    if (folder / "mosquitto.conf").exists():
        sys.stderr.write(f"{folder}/mosquitto.conf is there already. Remove it first, or name another folder.\n")
        return 1
    ensure_folder(folder, 0o755, Owner())
    source = config.broker_ca.parent
    write_new(folder / "root-ca.pem", config.broker_ca.read_bytes(), _OPEN_MODE)
    write_new(folder / "broker.pem", (source / "broker.pem").read_bytes(), _OPEN_MODE)
    write_new(folder / "broker.key", (source / "broker.key").read_bytes(), SECRET_MODE, owner)
    write_new(folder / "acl", acl_text().encode(), SECRET_MODE, owner)
    text = configuration(folder, config.broker_port, arguments.user)
    write_new(folder / "mosquitto.conf", text.encode(), _OPEN_MODE)
    sys.stdout.write(f"Written: {folder}\nNext: mosquitto -c {folder}/mosquitto.conf\n")
    return 0


def configuration(folder: Path, port: int, user: str | None) -> str:
    """Write mosquitto.conf."""
    as_user = f"user {user}\n" if user else ""
    return f"""\
# Made by doorward-console broker-config.
{as_user}per_listener_settings false
allow_anonymous false
persistence false
max_packet_size {_LARGEST_PACKET}
# A fleet that returns at once says more than the 1,000 messages that are kept for a busy worker otherwise.
max_queued_messages 100000
# Without it one command at a time waits 44 ms for Nagle and delayed ACK.
set_tcp_nodelay true

listener {port}
cafile {folder}/root-ca.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.key
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
# Without it a device with its own certificate and another's client id throws that one off.
use_username_as_clientid true
acl_file {folder}/acl
"""
