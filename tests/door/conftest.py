"""Embedded doors of the tests, each for a real account of its own."""

from pathlib import Path

import pytest

from tests.door.standing import Door, start_door
from tests.parts.processes import Programs
from tests.runner.conftest import Users, users

__all__ = ["users"]


@pytest.fixture
def door(users: Users, scratch: Path, programs: Programs) -> Door:
    """A door that stands open for an hour."""
    return start_door(programs, scratch, users.login)
