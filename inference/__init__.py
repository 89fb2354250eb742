"""Serve models over HTTP, route traffic over their versions and record every prediction without loss."""
