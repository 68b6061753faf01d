"""Lines with an SSH public key: what may stand in an order, and from there in a known_hosts or authorized_keys file."""

from typing import Final

KEY_TYPES: Final = ("ssh-ed25519", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com", "rsa-sha2-512", "ssh-rsa")
"""Types of keys that a door accepts, and that a relay is known by; DSS is none of them."""


def is_plain_key(line: str) -> bool:
    """Tell whether ``line`` is a key and nothing else: no options before it, no second line after it."""
    parts = line.split(" ")
    return line.isprintable() and len(parts) in (2, 3) and parts[0] in KEY_TYPES
