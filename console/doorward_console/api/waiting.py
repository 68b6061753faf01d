"""Long polls: an answer that comes when there is news, or after so many seconds."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from asgiref.sync import sync_to_async
from django.db import connection

from doorward_console.pages.chimes import chime

T = TypeVar("T")
_LOOK_EVERY_S: Final = 5.0
"""The fallback where a ring was missed."""


async def when_news(look: Callable[[], T], is_news: Callable[[T, T], bool], wait_s: int) -> T:
    """Look, and look again at each ring until ``is_news(first, now)`` says so or the time is over; each look lets go of its connection."""
    bell = chime() if wait_s else None
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + wait_s
    heard = bell.count if bell else 0
    first = seen = await sync_to_async(_let_go)(look)
    while bell and not is_news(first, seen) and (left := ends_at - loop.time()) > 0:
        await bell.wait(heard, min(left, _LOOK_EVERY_S))
        heard = bell.count
        seen = await sync_to_async(_let_go)(look)
    return seen


def _let_go(look: Callable[[], T]) -> T:
    try:
        return look()
    finally:
        if not connection.in_atomic_block:
            connection.close()
