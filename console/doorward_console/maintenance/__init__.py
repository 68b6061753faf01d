"""Sessions: what was asked, what was ordered, and how it ended."""
