"""``make bench``: the figures of docs/measured.md, as ratios measured in one run."""
