"""The worker: carries grants and orders out, takes records in, and keeps sessions true. Holds no key that can open a door."""


def run() -> None:
    """Work until told to stop; Django has been set up by whoever calls."""
    from doorward_console.worker.process import work  # Django's models can only be imported once it is set up

    work()
