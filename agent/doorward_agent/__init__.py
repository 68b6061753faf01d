"""The agent on the device: dials out, obeys signed orders, keeps a journal."""

VERSION = "0.1.0"
"""As the distribution's; written here because looking it up would keep 4 MiB in an idle agent. A test compares them."""
