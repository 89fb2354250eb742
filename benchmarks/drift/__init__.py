"""What it costs to compare a table with its reference."""
