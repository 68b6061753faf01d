"""The lab: a house spread over places of its own, what can be done to it, and what has to hold afterwards."""
