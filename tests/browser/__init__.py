"""The console as people have it, in a real browser."""
