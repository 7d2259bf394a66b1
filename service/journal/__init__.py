"""The journal: the truth about every image and every delivery."""
