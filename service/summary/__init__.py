"""Summarising: one report for a study that has been quiet for a while."""
