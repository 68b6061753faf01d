"""The signer's ceilings: limits in a file of its own, which neither web nor worker can write.

Read once when the signer starts; every fault is reported at once; a file that is not there is a fault, too, for a signer
without ceilings would sign whatever web asks.
"""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from doorward_console.config import ConfigError
from doorward_console.maintenance.decisions import Ceilings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WHOLE: Final = ("longest_session_s", "most_open_sessions", "longest_command_s", "most_waiting_commands")
KNOWN_ROLES: Final = ("owner", "admin", "engineer", "viewer")


def ceilings_from_file(path: Path) -> Ceilings:
    """Read the signer's ceilings; raises ConfigError with every fault."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(path, [f"cannot be read ({error.strerror})"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, [f"is not TOML ({error})"]) from error
    faults = _faults(table)
    if faults:
        raise ConfigError(path, faults)
    if "may_open_roles" in table:
        table["may_open_roles"] = tuple(table["may_open_roles"])
    return Ceilings(**table)


def _faults(table: dict[str, Any]) -> list[str]:
    known = {one.name for one in fields(Ceilings)}
    faults = [f"unknown key {name!r}" for name in table if name not in known]
    for name in _WHOLE:
        value = table.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            faults.append(f"{name} is not a whole number above 0")
    if not isinstance(table.get("needs_licence", False), bool):
        faults.append("needs_licence is neither true nor false")
    roles = table.get("may_open_roles", [])
    if not isinstance(roles, list) or not all(role in KNOWN_ROLES for role in roles):
        faults.append("may_open_roles is not a list of " + ", ".join(KNOWN_ROLES))
    return faults


def text_from_ceilings(ceilings: Ceilings) -> str:
    """Write the file with every key explained."""
    roles = ", ".join(f'"{role}"' for role in ceilings.may_open_roles)
    return f"""\
# The signer's ceilings. Restart the signer after a change: doorward-console signer

# Seconds from the request to the end of a session, extensions included.
longest_session_s = {ceilings.longest_session_s}

# Doors that may be open at once in the whole installation.
most_open_sessions = {ceilings.most_open_sessions}

# Roles whose requests the signer signs; never more than the table of rights allows.
may_open_roles = [{roles}]

# Whether every device needs a licence, also where its project's owner asks for none.
needs_licence = {str(ceilings.needs_licence).lower()}

# Seconds that a command may wait for its device before it expires.
longest_command_s = {ceilings.longest_command_s}

# Commands that may wait for one device at once.
most_waiting_commands = {ceilings.most_waiting_commands}
"""
