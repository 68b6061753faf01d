"""Where the agent meets the world: one module for each thing it touches."""
