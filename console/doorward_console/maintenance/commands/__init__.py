"""Commands: what people ask devices to do once, decided, told one at a time, and ended with what came of it.

``asking`` is called by pages and API, ``deciding`` and ``promoting`` by the signer, ``hearing`` by the worker; ``shown`` says it
to people.
"""
