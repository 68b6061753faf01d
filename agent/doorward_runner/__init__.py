"""The agent's root half: checks one signed order itself, does one thing, and is gone."""
