"""How long the pages of the dashboard take in a browser."""
