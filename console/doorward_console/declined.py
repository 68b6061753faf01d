"""A request that somebody may make in general and not like this: answered with a sentence, by pages and API alike."""


class Declined(Exception):
    """What was asked is not possible as asked.

    Attributes:
        code: a stable word for programs.
        message: what is wrong, as a sentence.
        next: what to do, as a sentence.
    """

    def __init__(self, code: str, message: str, next_step: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next = next_step
