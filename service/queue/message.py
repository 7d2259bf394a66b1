"""A job's message, as Celery puts it into Redis.

Celery's own way to make one costs as much as to take in a small image: it copies producer, channel
and client for each. Source: Celery, "Task message protocol", version 2, and the envelope of
kombu.transport.redis; a test holds it against a message of Celery's.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import uuid

_ORIGIN = f"secondread{os.getpid()}@{socket.gethostname()}"
_EMBEDDED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_PERSISTENT = 2


def job_message(task: str, queue: str, keys: tuple[str, ...]) -> str:
    """JSON to be pushed onto the list ``queue``."""
    identifier = str(uuid.uuid4())
    body = json.dumps([list(keys), {}, _EMBEDDED]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": task,
                "id": identifier,
                "shadow": None,
                "eta": None,
                "expires": None,
                "group": None,
                "group_index": None,
                "retries": 0,
                "timelimit": [None, None],
                "root_id": identifier,
                "parent_id": None,
                "argsrepr": repr(keys),
                "kwargsrepr": "{}",
                "origin": _ORIGIN,
                "ignore_result": None,
                "replaced_task_nesting": 0,
                "stamped_headers": None,
                "stamps": {},
            },
            "properties": {
                "correlation_id": identifier,
                "reply_to": None,
                "delivery_mode": _PERSISTENT,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )
