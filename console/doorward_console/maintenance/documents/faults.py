"""What can be wrong with a document of settings, and with the schema that judges it; in words, without the library that finds it."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One thing that is wrong: where, as a JSON Pointer, and what, to be read after the name of the place."""

    path: str
    says: str


class Unusable(Exception):
    """The schema cannot be used; says why."""
