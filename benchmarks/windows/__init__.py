"""How long it takes to add up a window of any length, however many predictions the log holds."""
