"""Settings documents: what a device says, what is wanted of it, what its maker lets be set, and how they differ."""
