"""Backup and restore: what the journal knows and what lies in the spool, while the service runs."""
