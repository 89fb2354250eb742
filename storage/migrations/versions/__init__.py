"""One script per change of the tables, in order."""
