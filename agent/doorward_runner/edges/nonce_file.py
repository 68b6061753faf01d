"""The nonce file in ``run_dir``: two lines, newest first, readable by everyone and writable by root.

Beside it ``nonce.stamp`` holds the boot-time clock's whole seconds at which the newest was made. ``renew-nonce``, a script
of the timer's that needs no Python, writes both in the same form.
"""

import os
from pathlib import Path

from doorward_runner import nonces
from doorward_runner.edges import files
from doorward_runner.promise import Moment


def fresh_nonces(folder: Path, now: Moment) -> tuple[str, ...]:
    """Give the nonces that count, after renewing them where it is time."""
    held = tuple((files.read(folder / "nonce") or "").split())
    current = nonces.renewed(held, _age_s(folder, now), _chance())
    if current != held:
        _keep(folder, current, now)
    return current


def use_up(folder: Path, used: str, held: tuple[str, ...], now: Moment) -> None:
    """Make ``used`` count no longer, and a new one in its place."""
    _keep(folder, nonces.without(held, used, _chance()), now)


def made_s(folder: Path, nonce: str | None) -> float:
    """Give a reading of the boot-time clock at which ``nonce`` was not made yet, or just then: 0 for one that is not the newest."""
    newest = (files.read(folder / "nonce") or "").partition("\n")[0]
    return float(_stamp_s(folder) or 0) if nonce == newest else 0.0


def _age_s(folder: Path, now: Moment) -> float | None:
    stamp_s = _stamp_s(folder)
    return None if stamp_s is None else now.uptime_s - stamp_s


def _stamp_s(folder: Path) -> int | None:
    stamp = (files.read(folder / "nonce.stamp") or "").strip()
    return int(stamp) if stamp.isdecimal() else None


def _keep(folder: Path, held: tuple[str, ...], now: Moment) -> None:
    """Write nonces before stamp: between the two a nonce can only look older than it is."""
    files.write(folder / "nonce", "\n".join(held) + "\n", mode=0o644)
    files.write(folder / "nonce.stamp", f"{int(now.uptime_s)}\n", mode=0o644)


def _chance() -> str:
    return nonces.nonce_from_bytes(os.urandom(nonces.RANDOM_BYTES))
