"""The Celery application: its messages, its queues, its settings."""

from __future__ import annotations

from celery import Celery
from celery.signals import setup_logging as celery_wants_to_log
from kombu.entity import Queue

from service.journal.records import Stage
from service.queue.sentinels import sentinels

VISIBILITY_SECONDS = 60
"""After this an unacknowledged message is given out again; whoever gets a job that is leased or
done just drops the message, so it may be shorter than a task."""


def make_app(broker_url: str) -> Celery:
    """A Celery application that keeps no results, takes over no logging and sends no events.

    broker_url: ``redis://…``, or ``sentinel://…``, see ``service.queue.sentinels``.
    """
    watched = sentinels(broker_url)
    celery_wants_to_log.connect(_leave_logging_alone)
    app = Celery("secondread", set_as_current=False)
    app.conf.update(
        broker_url=watched.celery_url() if watched else broker_url,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 5,
            "socket_timeout": 10,
            "socket_keepalive": True,
            **({"master_name": watched.name} if watched else {}),
        },
        result_backend=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        task_queues=[Queue(stage.value) for stage in Stage],  # type: ignore[no-untyped-call]
        task_default_queue=Stage.ANALYSIS.value,
        task_create_missing_queues=False,
        task_acks_late=True,
        task_send_sent_event=False,
        worker_prefetch_multiplier=1,
        # Without it a worker that loses the broker goes deaf (docs/architecture.md).
        worker_enable_remote_control=True,
        # A running task holds a thread, not a message: there is nothing to hold back.
        worker_enable_prefetch_count_reduction=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def _leave_logging_alone(**_: object) -> None:
    """A receiver of this signal is what keeps Celery from configuring the loggers."""
