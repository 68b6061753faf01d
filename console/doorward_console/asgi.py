"""The web process as an ASGI application, for uvicorn.

What was asked for is done to its end: Django gives up a request whose client has gone, and whoever presses "Shut now" and
closes the page has gone. So a POST whose body has come hears of no client that goes.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.core.asgi import get_asgi_application
from django.urls import get_resolver

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "doorward_console.settings")
_django = get_asgi_application()
_ADDRESSES = get_resolver().url_patterns
"""All that answers is loaded before the first request comes: Django would let the first person wait for it."""


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one request."""
    is_asking = scope["type"] == "http" and scope["method"] == "POST"
    await _django(scope, _until_it_is_whole(receive) if is_asking else receive, send)


def _until_it_is_whole(receive: Receive) -> Receive:
    """Give what comes up to the end of the body, and then nothing more; Django cancels who waits for it."""
    is_whole = False

    async def receive_more() -> Message:
        nonlocal is_whole
        if is_whole:
            await asyncio.Event().wait()
        message = await receive()
        is_whole = message["type"] == "http.request" and not message.get("more_body", False)
        return message

    return receive_more
