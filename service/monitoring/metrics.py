"""Every metric of the service, in one registry a process."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.journal.records import Stage

_ROAD_BUCKETS = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 14400, 86400)
_STAGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one process; labels hold states, codes and configured names, never UIDs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.received = Counter(
            "secondread_received",
            "C-STORE requests by outcome (stored, duplicate, ignored, refused)",
            ["outcome"],
            registry=self.registry,
        )
        self.received_bytes = Counter(
            "secondread_received_bytes", "Bytes of stored data sets", registry=self.registry
        )
        self.store_seconds = Histogram(
            "secondread_store_seconds",
            "Time from the whole data set to the durable row",
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.scanner_last_seen = Gauge(
            "secondread_scanner_last_seen_timestamp_seconds",
            "When a scanner's last image was stored, by its calling AE title",
            ["scanner"],
            registry=self.registry,
        )
        self.scanner_silent = Gauge(
            "secondread_scanner_silent_seconds",
            "How much of its working hours a scanner has been silent, where it has hours",
            ["scanner"],
            registry=self.registry,
        )
        self.associations = Gauge(
            "secondread_associations", "Open associations", registry=self.registry
        )
        self.refused_associations = Counter(
            "secondread_refused_associations",
            "Connections and associations that were refused or cut, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.tls_reload_failures = Counter(
            "secondread_tls_reload_failures",
            "Changed TLS files that could not be used; the last good ones are in force",
            registry=self.registry,
        )
        self.publish_failures = Counter(
            "secondread_publish_failures",
            "Messages that the broker did not take (the keeper publishes them later)",
            registry=self.registry,
        )
        self.outcomes = Counter(
            "secondread_outcomes",
            "Analyses by final state and reason code",
            ["state", "reason"],
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "secondread_stage_seconds",
            "Time in each stage of an analysis",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.malignant_probability = Histogram(
            "secondread_malignant_probability",
            "Distribution of the malignancy score, by scanner model and model version",
            ["scanner_model", "model_version"],
            buckets=tuple(step / 10 for step in range(1, 11)),
            registry=self.registry,
        )
        self.score_drift = Gauge(
            "secondread_score_drift_psi",
            "How far the scores have moved from the model's reference (population stability index)",
            ["scanner_model", "model_version"],
            registry=self.registry,
        )
        self.score_drift_images = Gauge(
            "secondread_score_drift_images",
            "Images of which the drift was measured",
            ["scanner_model", "model_version"],
            registry=self.registry,
        )
        self.truth_cases = Gauge(
            "secondread_truth_cases",
            "Studies whose pathology is known, by what it says",
            ["model_version", "diagnosis"],
            registry=self.registry,
        )
        self.truth_images = Gauge(
            "secondread_truth_images",
            "Images whose pathology, or that of their study, is known",
            ["model_version"],
            registry=self.registry,
        )
        self.truth_auc = Gauge(
            "secondread_truth_auc",
            "Area under the ROC curve of these studies, by their highest score",
            ["model_version"],
            registry=self.registry,
        )
        self.truth_sensitivity = Gauge(
            "secondread_truth_sensitivity",
            "Share of the malignant studies that were called malignant",
            ["model_version"],
            registry=self.registry,
        )
        self.truth_sensitivity_upper = Gauge(
            "secondread_truth_sensitivity_upper",
            "Upper limit of that share's 95 % interval (Wilson)",
            ["model_version"],
            registry=self.registry,
        )
        self.truth_validated_sensitivity = Gauge(
            "secondread_truth_validated_sensitivity",
            "Sensitivity of the configured operating point on the package's validation images",
            ["model_version"],
            registry=self.registry,
        )
        self.truth_specificity = Gauge(
            "secondread_truth_specificity",
            "Share of the benign studies that were called benign",
            ["model_version"],
            registry=self.registry,
        )
        self.truth_calibration_error = Gauge(
            "secondread_truth_calibration_error",
            "How far the scores of these images are from the share of malignant ones (ECE)",
            ["model_version"],
            registry=self.registry,
        )
        self.truth_messages = Counter(
            "secondread_truth_messages",
            "Messages of pathology by what became of them (taken, unchanged, corrected, older,"
            " unknown; bad: not understood; fault: ours)",
            ["outcome"],
            registry=self.registry,
        )
        self.truth_last_message = Gauge(
            "secondread_truth_last_message_timestamp_seconds",
            "When the last message of pathology came, by what became of it",
            ["outcome"],
            registry=self.registry,
        )
        self.batch_images = Histogram(
            "secondread_batch_images",
            "Images that were scored in one run",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.unlike_training = Counter(
            "secondread_unlike_training",
            "Scored images that the model's out-of-distribution gate flagged",
            registry=self.registry,
        )
        self.invalid_objects = Counter(
            "secondread_invalid_objects",
            "Objects of ours that broke the standard, and were not sent",
            registry=self.registry,
        )
        self.model = Gauge(
            "secondread_model",
            "The loaded models and the execution providers that really run them:"
            " 1 for the one that new studies get, 0 for others that are still needed",
            ["name", "version", "sha256", "provider"],
            registry=self.registry,
        )
        self.triton_up = Gauge(
            "secondread_triton_up",
            "1 while the Triton server runs the model of the package",
            ["server"],
            registry=self.registry,
        )
        self.shadow_model = Gauge(
            "secondread_shadow_model",
            "1 for the model that scores silently, and the execution provider that runs it",
            ["name", "version", "sha256", "provider"],
            registry=self.registry,
        )
        self.shadow_images = Counter(
            "secondread_shadow_images",
            "Images that it has looked at (scored, not_analysable, failed)",
            ["outcome"],
            registry=self.registry,
        )
        self.shadow_agreement = Gauge(
            "secondread_shadow_agreement",
            "Share of the last two weeks' images of which it decides as the result does",
            ["model_version"],
            registry=self.registry,
        )
        self.shadow_compared_images = Gauge(
            "secondread_shadow_compared_images",
            "How many these images are",
            ["model_version"],
            registry=self.registry,
        )
        self.model_refused = Gauge(
            "secondread_model_refused",
            "1 while an activated model or canary cannot be loaded, and the one before goes on",
            registry=self.registry,
        )
        self.models_missing = Counter(
            "secondread_models_missing",
            "Images whose study had begun with a model that is not installed any more;"
            " the study goes on with the active one",
            registry=self.registry,
        )
        self.deliveries = Counter(
            "secondread_deliveries",
            "Delivery attempts by destination and outcome"
            " (delivered, stored, retry, refused, failed)",
            ["destination", "outcome"],
            registry=self.registry,
        )
        self.delivery_seconds = Histogram(
            "secondread_delivery_seconds",
            "Time of one delivery attempt",
            ["destination"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.image_seconds = Histogram(
            "secondread_image_seconds",
            "From an image's receipt until its first results are stored at a destination",
            ["destination"],
            buckets=_ROAD_BUCKETS,
            registry=self.registry,
        )
        self.commitments = Counter(
            "secondread_commitments",
            "Commitment reports of destinations (committed, not_committed, unknown, unreadable)",
            ["outcome"],
            registry=self.registry,
        )
        self.commitment_requests = Counter(
            "secondread_commitment_requests",
            "Requests for commitment by scanners (accepted, refused)",
            ["outcome"],
            registry=self.registry,
        )
        self.commitment_reports = Counter(
            "secondread_commitment_reports",
            "Commitment reports to scanners (sent, retry, failed)",
            ["outcome"],
            registry=self.registry,
        )
        self.republished = Counter(
            "secondread_republished",
            "Overdue jobs that the keeper published again",
            ["stage"],
            registry=self.registry,
        )
        self.audit_messages = Counter(
            "secondread_audit_messages",
            "Audit messages by outcome"
            " (written, failed, forwarded; waiting: tries while the collector is down;"
            " unreadable: lines that are no message)",
            ["outcome"],
            registry=self.registry,
        )
        self.logins = Counter(
            "secondread_logins",
            "Logins on the web page (succeeded, failed; locked: tries during a lock-out)",
            ["outcome"],
            registry=self.registry,
        )
        self.probes = Counter(
            "secondread_probes",
            "Synthetic images that were sent to see whether the road is open"
            " (passed, unreachable, refused, late, failed)",
            ["outcome"],
            registry=self.registry,
        )
        self.probe_seconds = Histogram(
            "secondread_probe_seconds",
            "From the C-STORE of a synthetic image until its result is kept",
            buckets=_ROAD_BUCKETS,
            registry=self.registry,
        )
        self.swept = Counter(
            "secondread_swept",
            "What a crash left in the spool (adopted, removed, unreadable)",
            ["outcome"],
            registry=self.registry,
        )
        self.images = Gauge(
            "secondread_images", "Images in the journal by state", ["state"], registry=self.registry
        )
        self.studies = Gauge(
            "secondread_studies",
            "Studies in the journal by state (pending: a summary is due or waits for quiet)",
            ["state"],
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "secondread_queue_depth", "Unfinished jobs by stage", ["stage"], registry=self.registry
        )
        self.oldest_waiting_seconds = Gauge(
            "secondread_oldest_waiting_seconds",
            "Age of the oldest unfinished job by stage",
            ["stage"],
            registry=self.registry,
        )
        self.oldest_image_seconds = Gauge(
            "secondread_oldest_image_seconds",
            "Age of the oldest image that is not at its end, since its receipt",
            registry=self.registry,
        )
        self.destination_waiting = Gauge(
            "secondread_destination_waiting",
            "Results that a destination has not got yet",
            ["destination"],
            registry=self.registry,
        )
        self.destination_oldest_seconds = Gauge(
            "secondread_destination_oldest_seconds",
            "Age of the oldest result that a destination has not got yet",
            ["destination"],
            registry=self.registry,
        )
        self.spool_free_bytes = Gauge(
            "secondread_spool_free_bytes", "Free space of the spool's disk", registry=self.registry
        )
        self.store_errors = Counter(
            "secondread_store_errors",
            "What the spool's S3 store did not do, after all tries (put get list delete check)",
            ["operation"],
            registry=self.registry,
        )
        self.store_up = Gauge(
            "secondread_store_up",
            "0 while the spool's S3 store does not answer the keeper",
            registry=self.registry,
        )
        self.store_up.set(1)
        self.broker_up = Gauge(
            "secondread_broker_up", "1 while the broker answers", registry=self.registry
        )
        for gauge in (self.spool_free_bytes, self.broker_up):
            gauge.set(math.nan)  # of processes that do not measure it: 0 would be an alarm
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A counter that appears with its first event hides that event from ``increase()``."""
        begun: tuple[tuple[Counter, str], ...] = (
            (self.received, "stored duplicate ignored refused"),
            (
                self.refused_associations,
                "address connections tls ae-title associations rate pdu-length pdu-time"
                " message-time object-size message pipelined protocol",
            ),
            (self.commitments, "committed not_committed unknown unreadable"),
            (self.commitment_requests, "accepted refused"),
            (self.commitment_reports, "sent retry failed"),
            (self.audit_messages, "written failed forwarded waiting unreadable"),
            (self.logins, "succeeded failed locked"),
            (self.store_errors, "put get list delete check"),
            (self.swept, "adopted removed unreadable"),
            (self.shadow_images, "scored not_analysable failed"),
            (self.truth_messages, "taken unchanged corrected older unknown bad fault"),
            (self.republished, " ".join(Stage)),
        )
        for counter, values in begun:
            for value in values.split():
                counter.labels(value)
