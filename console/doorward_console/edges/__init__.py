"""Where the console touches the world: broker, relays, doorbells, key files."""
