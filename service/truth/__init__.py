"""Pathology comes back: taken in, held beside the results, measured, handed on."""
