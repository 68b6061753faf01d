"""A whole house on one machine: broker, console, relay, device and engineer, each from its own commands, with real parts."""
