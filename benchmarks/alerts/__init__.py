"""What it costs to judge many rules over many series."""
