"""The names of the tasks in messages."""

ANALYSE = "secondread.analyse"
DELIVER = "secondread.deliver"
SUMMARISE = "secondread.summarise"
REPORT_COMMITMENT = "secondread.report_commitment"
