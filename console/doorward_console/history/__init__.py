"""The history: records of console, devices and relays, as signed chains."""
