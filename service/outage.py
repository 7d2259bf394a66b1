"""What a job needs from another machine is away."""

from __future__ import annotations


class Outage(Exception):
    """The job is not to blame: its try does not count, and it is tried again for as long as it
    takes. The text is for an operator, and names no patient."""
