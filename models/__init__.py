"""The tables, and one function for each statement."""
