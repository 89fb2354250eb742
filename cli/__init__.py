"""The `modelwatch` command, the supervisor of the services and the demo."""
