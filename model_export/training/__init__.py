"""Trains a classifier: plan, data, losses, the Lightning module and the run."""
