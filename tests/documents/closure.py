"""What ``pip install 'doorward[agent]'`` brings onto a device, resolved from the installed distributions' metadata."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PYTHONS: Final = ("3.10", "3.11", "3.12", "3.13")


def closure_lines() -> list[str]:
    """Give one line for each distribution: its name, who needs it, and on which Python."""
    found: dict[str, str] = {}
    waiting = [("doorward[agent]", one) for one in _needs("doorward", "agent")]
    while waiting:
        parent, requirement = waiting.pop(0)
        name = canonicalize_name(requirement.name)
        if name not in found:
            found[name] = f"{name}  <- {parent}{_where(requirement)}"
            waiting += [(name, one) for extra in (requirement.extras or {""}) for one in _needs(name, extra)]
    return [found[name] for name in sorted(found)]


def _needs(distribution: str, extra: str) -> Iterator[Requirement]:
    """Give what a distribution needs on Linux and CPython with any Python that we support."""
    try:
        texts = requires(distribution) or []
    except PackageNotFoundError:  # needed on another Python than this one, so it is not here to be read
        return
    for text in texts:
        requirement = Requirement(text)
        if _pythons(requirement, extra):
            yield requirement


def _pythons(requirement: Requirement, extra: str) -> list[str]:
    fixed = {"extra": extra, "platform_python_implementation": "CPython", "implementation_name": "cpython"}
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    return [
        python
        for python in _PYTHONS
        if requirement.marker is None
        or requirement.marker.evaluate(
            {**fixed, **linux, "python_version": python, "python_full_version": f"{python}.0"}
        )
    ]


def _where(requirement: Requirement) -> str:
    """Say on which Python a requirement holds, where it is not all of them."""
    holds = _pythons(requirement, "agent")
    return "" if len(holds) == len(_PYTHONS) else f" (Python {', '.join(holds)})"
