"""Decode, screen, crop, score: from a spooled data set to a finding."""
