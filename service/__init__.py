"""The running service: one image's way from C-STORE to the results in the PACS."""
