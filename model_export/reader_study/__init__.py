"""A reader study as in the paper: one case read twice, without and with the model."""
