"""The worker: carries grants and orders out, takes records in, and keeps sessions true. Holds no key that can open a door."""
