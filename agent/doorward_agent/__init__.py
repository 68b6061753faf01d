"""The agent on the device: dials out, obeys signed orders, keeps a journal."""
