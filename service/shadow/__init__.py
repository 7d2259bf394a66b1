"""A second model that scores silently, and how it compares with the one that speaks."""
