"""People, their projects, their roles, and their API tokens."""
