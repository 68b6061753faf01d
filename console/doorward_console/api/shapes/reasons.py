"""A reason, as many answers carry one."""

from ninja import Schema


class ReasonOut(Schema):
    """A reason code, explained: whose move it is, what happened, what to do."""

    code: str
    move: str
    meaning: str
    next: str
