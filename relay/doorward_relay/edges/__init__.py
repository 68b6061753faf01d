"""Where the relay touches the world, one module for each thing that it touches."""
