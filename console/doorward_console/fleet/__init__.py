"""Devices and relays: what a project owns and how it is doing."""
