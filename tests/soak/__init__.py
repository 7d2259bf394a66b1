"""Hours of steady load with faults: does anything grow? ``make soak`` (docs/chaos.md)."""
