"""Whatever the console answers at is in one of the walks: an address that somebody adds cannot be forgotten there."""

from collections.abc import Iterable, Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from doorward_console.api import api

from tests.console.test_api import OPERATIONS
from tests.console.test_pages_access import NAMES

OPEN_TO_ALL = {"join", "healthz", "readyz", "version"}
"""Beside pages and API: what devices and monitoring ask, each with tests of its own."""


def addresses(of: Iterable[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    """Give every address but the API's, which knows its own better."""
    for one in of:
        if isinstance(one, URLPattern):
            yield one
        elif one.app_name != "ninja":
            yield from addresses(one.url_patterns)


@pytest.mark.threat("other-project")
def test_address_when_the_console_answers_at_it_then_the_walk_over_pages_knows_it() -> None:
    """No page stands outside what strangers and lesser roles are tried at."""
    assert {one.name for one in addresses(get_resolver().url_patterns)} == {*NAMES} | OPEN_TO_ALL


@pytest.mark.threat("other-project")
def test_operation_when_the_api_has_it_then_the_walk_over_operations_knows_it() -> None:
    """The walk takes its list from OpenAPI: an operation that is not shown there would be tried by nobody."""
    answered = {
        (method, f"{prefix}{path}")
        for prefix, router in api._routers
        for path, view in router.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    }
    assert answered == {*OPERATIONS}
