"""Takes over rules of Prometheus and routes of Alertmanager."""
