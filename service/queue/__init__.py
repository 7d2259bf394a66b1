"""Celery: the queue is a hint, its messages carry keys only."""
