"""What serving costs: the sidecar with and without logging, and the endpoint that a tutorial would write, side by side."""
