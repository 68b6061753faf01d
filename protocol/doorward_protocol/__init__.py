"""What doorward's rooms say to one another: messages, signatures, chains, reason codes.

Everything here is a function of its arguments: no transport, no clock, no file. ``docs/protocol.md`` is the
specification; ``vectors.json`` holds signed examples that every implementation has to read alike. Every room may
import this one, and no other.
"""

PROTOCOL_VERSIONS = (1,)
