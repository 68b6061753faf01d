"""The console: where people ask for openings, and where the history is kept."""
