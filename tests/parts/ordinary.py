"""Running the tests' own programs as an ordinary user, also where only root may pass to the interpreter behind them."""

import os
import sys
from pathlib import Path
from typing import Final

from tests.parts.installed import require

_CHECKOUT: Final = Path(__file__).parents[2]
_SHOW: Final = """
user=$1; shift
for path in $VISIBLE; do
    mkdir -p "/run/doorward-test-shown$path"; mount --rbind "$path" "/run/doorward-test-shown$path"
done
mount -t tmpfs -o mode=755 tmpfs /root
for path in $VISIBLE; do mkdir -p "$path"; mount --rbind "/run/doorward-test-shown$path" "$path"; done
exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@"
"""
"""In a mount namespace of its own, with its own /run/doorward-test-shown: the folders in VISIBLE stay, the rest of /root goes."""


def as_ordinary(user: str) -> list[str]:
    """Give what stands before a command so that ``user`` runs it; nothing where we are that ordinary user ourselves."""
    if os.geteuid() != 0:
        return []
    hidden = [str(path) for path in (Path(sys.base_prefix), _CHECKOUT) if path.is_relative_to("/root")]
    script = f"mount -t tmpfs tmpfs /run; VISIBLE='{' '.join(hidden)}'{_SHOW}"
    return [str(require("unshare")), "--mount", "--propagation", "private", "/bin/sh", "-ec", script, "sh", user]
