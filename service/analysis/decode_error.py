"""Why pixels could not be had."""

from __future__ import annotations


class DecodeError(Exception):
    """A file gave no picture; an outcome with a reason, not a fault of the service.

    code: one of

    - ``not-dicom``: not a DICOM Part 10 file
    - ``unreadable-header``: a Part 10 file whose data set cannot be parsed
    - ``unsupported-transfer-syntax``
    - ``no-pixels``: no Pixel Data element
    - ``undecodable``: truncated, corrupt, or of a kind that the decoder does not know
    - ``too-large``: more pixels, inflated bytes or header elements than any image that we analyse
    - ``decode-memory``, ``decode-timeout``: a limit of the settings was reached
    - ``decode-crashed``: the decoder process died on it, twice

    text: one English sentence that holds nothing of the patient.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
