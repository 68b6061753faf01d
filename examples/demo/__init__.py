"""The whole of doorward on one machine, for whoever wants to see it: ``make demo``."""
