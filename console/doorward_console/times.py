"""Times of the database (aware, UTC) and of the wire (ms since 1970), and nothing else."""

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def ms_from_time(time: datetime) -> int:
    """Give whole milliseconds since 1970."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def ms_from_time_or_none(time: datetime | None) -> int | None:
    return None if time is None else ms_from_time(time)


def time_from_ms(at: int) -> datetime:
    """Give the aware time; one beyond year 9999 (a device may claim it) becomes the last that can be written."""
    try:
        return _EPOCH + timedelta(milliseconds=at)
    except OverflowError:
        return datetime.max.replace(tzinfo=timezone.utc)


def time_from_ms_or_none(at: int | None) -> datetime | None:
    return None if at is None else time_from_ms(at)
