"""What operators see: Prometheus metrics and health."""
