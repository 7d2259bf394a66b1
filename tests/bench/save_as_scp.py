"""Run as ``python save_as_scp.py PORT FOLDER``: pynetdicom's own example of a storage SCP.

A peer of the bench, in a file of its own so that nothing of ours is in it.
"""

from __future__ import annotations

import sys

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt


def store(event: evt.Event, folder: str) -> int:
    data_set = event.dataset
    data_set.file_meta = event.file_meta
    data_set.save_as(f"{folder}/{data_set.SOPInstanceUID}.dcm", enforce_file_format=True)
    return 0x0000


ae = AE()
for context in AllStoragePresentationContexts:
    ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
ae.maximum_associations = 32
ae.start_server(
    ("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, store, [sys.argv[2]])]
)
