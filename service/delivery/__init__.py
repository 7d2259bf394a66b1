"""Sending: the results of an image to each destination, until it has them."""
