"""The reading room's page and the REST API: they read the journal, and pass on orders."""
