"""The whole way through, in houses of real parts."""
