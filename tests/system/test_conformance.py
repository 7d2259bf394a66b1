"""``docs/conformance.md`` says of the code what the code does: no more, no less, nothing else.

Where a table and the code part, the failure shows the rows of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from pydicom.uid import UID, UID_dictionary
from pynetdicom import AE
from pynetdicom.association import Association

from dicom_sr import identity
from dicom_sr.part10 import file_meta, part10_bytes
from service.commitment import information, verdict
from service.delivery.policy import Verdict, judge
from service.delivery.transport import way_to
from service.destination import DimseDestination
from service.ingest import commitment as ingest_commitment
from service.ingest import scp as ingest_scp
from service.ingest.settings import IngestSettings
from service.scu import Answer, AssociationFailed, Peer, SendOutcome, echo
from service.sections import DeliverySettings
from service.sop_classes import ANALYSED
from service.stow import StowClient, StowPeer
from tests.delivery.dicomweb import Request, Response, WebServer

from .application_entities import VERIFICATION, RecordingPeer, RunningIngest, image
from .census import attribute_rows
from .created_objects import REPORT, created_objects
from .statement import STATEMENT, column, setting_rows, tables

MOST_CONTEXTS = 128
BEHAVIOUR = {
    Verdict.STORED: "stored",
    Verdict.RETRY: "try again",
    Verdict.REFUSED: "refused",
}


@pytest.fixture
def start_ingest(tmp_path: Path) -> Iterator[Callable[..., RunningIngest]]:
    """``start_ingest(**settings)``: everything else has its default."""
    running: list[RunningIngest] = []

    def start(**settings: object) -> RunningIngest:
        running.append(RunningIngest(tmp_path, **settings))
        return running[-1]

    yield start
    for ingest in running:
        ingest.close()


@pytest.fixture
def ingest(start_ingest: Callable[..., RunningIngest]) -> RunningIngest:
    return start_ingest()


@pytest.fixture
def associate() -> Iterator[Callable[..., Association]]:
    """``associate(port, contexts, calling=…, called=…)`` with pairs of class and syntaxes."""
    opened: list[Association] = []

    def open_association(
        port: int,
        contexts: Sequence[tuple[str, list[str]]] = ((VERIFICATION, ["1.2.840.10008.1.2"]),),
        calling: str = "SCANNER",
        called: str = "SECONDREAD",
    ) -> Association:
        ae = AE(calling)
        for sop_class, syntaxes in contexts:
            ae.add_requested_context(sop_class, syntaxes)
        opened.append(ae.associate("127.0.0.1", port, ae_title=called))
        return opened[-1]

    yield open_association
    for association in opened:
        if association.is_established:
            association.release()


@pytest.fixture
def accepted_by(ingest: RunningIngest, associate: Callable[..., Association]):
    """``accepted_by(pairs)``: those that the running Ingest AE accepts, each proposed alone."""

    def ask(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        accepted = set()
        for start in range(0, len(pairs), MOST_CONTEXTS):
            some = [(uid, [syntax]) for uid, syntax in pairs[start : start + MOST_CONTEXTS]]
            association = associate(ingest.scp.port, some)
            for context in association.accepted_contexts:
                accepted.add((str(context.abstract_syntax), str(context.transfer_syntax[0])))
            if association.is_established:
                association.release()
        return accepted

    return ask


@pytest.fixture
def recording_peer() -> Iterator[RecordingPeer]:
    peer = RecordingPeer()
    yield peer
    peer.close()


def uids_of_type(kind: str) -> list[str]:
    return [uid for uid, described in UID_dictionary.items() if described[1] == kind]


def classes_with(mark: str) -> set[str]:
    """SOP classes that Table 1-1 marks with Y in a column."""
    return {row["SOP Class UID"] for row in tables()["1-1"] if row[mark] == "Y"}


def created_classes() -> set[str]:
    """Those of the objects that we make, in every form."""
    return {
        str(data_set.SOPClassUID)
        for objects in created_objects().values()
        for each in objects
        for data_set in (each.data_set, each.variant)
    }


# The document


def test_it_is_of_this_version() -> None:
    assert f"**SecondRead** {version('secondread')}," in STATEMENT.read_text("utf-8")


def test_its_chapters_stand_in_the_order_of_the_standards_template() -> None:
    chapters = [line[3:] for line in STATEMENT.read_text("utf-8").splitlines() if line[:3] == "## "]
    assert chapters == [
        "1 Overview",
        "2 Table of contents",
        "3 Introduction",
        "4 Implementation model",
        "5 Service and interoperability description",
        "6 Configuration",
        "7 Network and media communication details",
        "8 Security",
        "A Information Object Definitions",
        "B Structured Report content encoding",
        "C Security details",
        "D Mapping of attributes",
        "E Code set usage",
    ]


@pytest.mark.parametrize(
    ("number", "name", "uid"),
    [
        *((number, "SOP Class", "SOP Class UID") for number in ("1-1", "7-8")),
        *((number, "Transfer syntax", "UID") for number in ("7-3", "7-4", "7-5")),
    ],
)
def test_uids_have_their_names_of_the_standard(number: str, name: str, uid: str) -> None:
    for row in tables()[number]:
        described = UID(row[uid])
        assert row[name] == described.name + " (retired)" * described.is_retired


# Content, transfer and services


def test_created_and_analysed_classes() -> None:
    assert classes_with("Created") == created_classes()
    assert classes_with("Analysed") == ANALYSED
    assert classes_with("SCU") == classes_with("STOW-RS") == created_classes()


def test_every_accepted_class_is_accepted_in_every_accepted_syntax(accepted_by) -> None:
    pairs = [
        (uid, syntax) for uid in sorted(classes_with("SCP")) for syntax in column("7-3", "UID")
    ]
    assert len(pairs) >= 200
    assert accepted_by(pairs) == set(pairs)


def test_no_other_class_of_the_standard_is_accepted(accepted_by) -> None:
    every = [(uid, "1.2.840.10008.1.2.1") for uid in uids_of_type("SOP Class")]
    every += [(uid, "1.2.840.10008.1.2.1") for uid in uids_of_type("Meta SOP Class")]
    assert len(every) > 200
    others = {VERIFICATION, information.PUSH_MODEL}
    assert {uid for uid, _ in accepted_by(every)} == {*classes_with("SCP"), *others}


def test_no_other_transfer_syntax_of_the_standard_is_accepted(accepted_by) -> None:
    ultrasound = "1.2.840.10008.5.1.4.1.1.3.1"
    every = uids_of_type("Transfer Syntax")
    assert set(column("7-5", "UID")) == set(every) - set(column("7-3", "UID"))
    accepted = accepted_by([(ultrasound, syntax) for syntax in every])
    assert {syntax for _, syntax in accepted} == set(column("7-3", "UID"))


def test_transfer_syntaxes_of_verification(accepted_by) -> None:
    accepted = accepted_by([(VERIFICATION, syntax) for syntax in uids_of_type("Transfer Syntax")])
    assert {syntax for _, syntax in accepted} == set(column("7-4", "UID"))


def test_first_of_several_transfer_syntaxes_is_taken(ingest, associate) -> None:
    preferred = column("7-3", "UID")
    for first in range(len(preferred) - 1):
        backwards = preferred[first:][::-1]
        association = associate(ingest.scp.port, [("1.2.840.10008.5.1.4.1.1.6.1", backwards)])
        (context,) = association.accepted_contexts
        assert context.transfer_syntax == [preferred[first]]
        association.release()


def test_dimse_services(accepted_by, ingest, recording_peer) -> None:
    rows = tables()["1-3"]
    for row in rows:
        if row["SOP Class UID"] != "see Table 1-1":
            accepted = bool(accepted_by([(row["SOP Class UID"], "1.2.840.10008.1.2.1")]))
            assert row["SCP"] == ("Y" if accepted else "N"), row
    supported = {row["Service"] for row in rows if "Y" in (row["SCU"], row["SCP"])}
    assert supported == {"Verification", "Storage", "Storage Commitment Push Model"}
    assert echo(Peer("127.0.0.1", ingest.scp.port, "SECONDREAD"), "ECHOSCU") == 0
    assert echo(Peer("127.0.0.1", recording_peer.port, "PACS"), "ECHOSCU") == 0
    assert recording_peer.proposed() == {(VERIFICATION, "1.2.840.10008.1.2")}


def test_root_templates() -> None:
    documents = {
        kind
        for kind, objects in created_objects().items()
        if "ContentTemplateSequence" in objects[0].data_set
    }
    assert set(column("1-2", "Object")) == documents
    for row in tables()["1-2"]:
        objects = created_objects()[row["Object"]]
        (template,) = {
            each.data_set.ContentTemplateSequence[0].TemplateIdentifier for each in objects
        }
        assert row["Template"] == f"TID {template}"
        (concepts,) = [
            described[3]
            for described in attribute_rows(objects)
            if described[0] == "Concept Name Code Sequence"
        ]
        assert row["Root concept"] == concepts


def test_web_services() -> None:
    for row in tables()["1-4"]:
        stores = row["Service"] == "Studies Service: Store (STOW-RS)"
        assert (row["User agent"], row["Origin server"]) == ("Y" if stores else "N", "N")


def test_application_entities() -> None:
    said = {row["Application Entity"]: row for row in tables()["4-1"]}
    assert set(said) == {"Ingest AE", "Delivery AE", "Operator's tools"}
    assert set(said) == set(column("5-1", "Application Entity"))
    assert said["Ingest AE"]["AE title"] == IngestSettings().ae_title
    assert said["Delivery AE"]["AE title"] == DeliverySettings().ae_title
    for name, row in said.items():
        roles = {each["Role"] for each in tables()["5-1"] if each["Application Entity"] == name}
        assert row["Accepts"] == ("Y" if "SCP" in roles else "N")
        assert row["Initiates"] == ("Y" if roles & {"SCU", "user agent"} else "N")


def test_services_of_the_application_entities_are_those_of_the_overview() -> None:
    listed = {(row["Service"], row["Role"]) for row in tables()["5-1"]}
    overview = {
        (row["Service"], role)
        for row in (*tables()["1-3"], *tables()["1-4"])
        for mark, role in (("SCU", "SCU"), ("SCP", "SCP"), ("User agent", "user agent"))
        if row.get(mark) == "Y"
    }
    assert listed == overview


# Associations


def test_general_association_parameters(ingest, associate, recording_peer) -> None:
    echo(Peer("127.0.0.1", recording_peer.port, "PACS"), "ECHOSCU")
    (request,) = recording_peer.requests
    meta = file_meta(created_objects()[REPORT][0].data_set)
    assert meta.ImplementationVersionName == identity.IMPLEMENTATION_VERSION_NAME
    for user in (associate(ingest.scp.port).acceptor, request.assoc.requestor):
        assert user.asynchronous_operations == (1, 1)
        assert (
            user.role_selection == user.sop_class_extended == user.sop_class_common_extended == {}
        )
        assert user.user_identity is None
        assert {row["Parameter"]: row["Value"] for row in tables()["7-1"]} == {
            "Application Context Name": user.primitive.application_context_name,
            "Implementation Class UID in associations": user.implementation_class_uid,
            "Implementation Version Name in associations": user.implementation_version_name,
            "Implementation Class UID in the files of results": meta.ImplementationClassUID,
            "Implementation Version Name in the files of results": meta.ImplementationVersionName,
            "Asynchronous operations": "none",
            "SCP/SCU role selection": "for storage commitment alone",
            "Extended negotiation": "none",
            "User identity negotiation": "none",
        }


def test_parameters_of_the_ingest_ae(ingest, associate) -> None:
    table = {row["Parameter"]: row["Default"] for row in tables()["7-2"]}
    offered = associate(ingest.scp.port).acceptor.maximum_length
    assert table["Maximum PDU length offered, bytes"] == str(offered)
    not_of_an_association = {"ingest.host", "ingest.drain_seconds", "ingest.low_water_bytes"}
    rows = setting_rows(IngestSettings, "ingest.")
    _defaults_are_those_of("7-2", [row for row in rows if row[0] not in not_of_an_association])


def test_parameters_of_the_delivery_ae(recording_peer) -> None:
    table = {row["Parameter"]: row["Default"] for row in tables()["7-7"]}
    with way_to(_destination(recording_peer), DeliverySettings()).open([]):
        pass
    (request,) = recording_peer.requests
    offered = request.assoc.requestor.maximum_length
    assert table["Maximum PDU length offered, bytes"] == str(offered)
    assert request.assoc.requestor.ae_title.strip() == table["AE title"]
    _defaults_are_those_of("7-7", setting_rows(DeliverySettings, "delivery."))


def _defaults_are_those_of(number: str, rows: list[tuple[str, str, str]]) -> None:
    """The table has every key, each time with its default."""
    listed = {
        (row["Configured by"], row["Default"]) for row in tables()[number] if row["Configured by"]
    }
    assert listed == {(key, default) for key, default, _ in rows}


def _destination(peer: RecordingPeer) -> DimseDestination:
    return DimseDestination(name="pacs", host="127.0.0.1", port=peer.port, ae_title="PACS")


def test_proposed_presentation_contexts(recording_peer) -> None:
    made = {
        (str(each.data_set.SOPClassUID), str(file_meta(each.data_set).TransferSyntaxUID))
        for objects in created_objects().values()
        for each in objects
    }
    with way_to(_destination(recording_peer), DeliverySettings()).open(sorted(made)):
        pass
    listed = {(row["SOP Class UID"], row["Transfer syntaxes"]) for row in tables()["7-8"]}
    assert recording_peer.proposed() == listed
    assert {uid for uid, _ in listed} == classes_with("SCU")


def test_rejections(start_ingest, associate) -> None:
    def rejection(association: Association) -> tuple[int, int, int]:
        answer = association.acceptor.primitive
        assert association.is_rejected
        return answer.result, answer.result_source, answer.diagnostic

    reserved = start_ingest(
        peers=[{"ae_title": "FRIEND", "address": "127.0.0.1"}], require_called_ae_title=True
    ).scp.port
    small = start_ingest(max_associations=1).scp.port
    assert associate(small).is_established
    slow = start_ingest(max_associations_per_second=0.01).scp.port
    assert associate(slow).is_established
    provoked = [
        rejection(associate(reserved, calling="STRANGER")),
        rejection(associate(reserved, calling="FRIEND", called="OTHER")),
        rejection(associate(small)),
        rejection(associate(slow)),
    ]
    assert associate(reserved, calling="FRIEND").is_established
    listed = [
        tuple(int(row[name].split()[0]) for name in ("Result", "Source", "Reason"))
        for row in tables()["7-6"]
    ]
    assert provoked == listed


# Statuses


def test_statuses_of_the_ingest_ae(start_ingest, tmp_path) -> None:
    good = image(tmp_path / "good.dcm")
    other = image(tmp_path / "other.dcm", SOPInstanceUID="1.2.4")
    nameless = image(tmp_path / "nameless.dcm", SOPInstanceUID="")
    ingest = start_ingest()
    provoked = {*ingest.statuses(good), *ingest.statuses(other), *ingest.statuses(nameless)}
    ingest.journal.broken = True
    provoked.update(ingest.statuses(good))
    provoked.update(start_ingest(low_water_bytes=1 << 60).statuses(good))
    constants = {value for value in vars(ingest_scp).values() if type(value) is int}
    assert provoked == constants
    assert {int(code, 16) for code in column("7-10", "Code")} == constants


def test_statuses_of_storage_commitment(ingest, associate) -> None:
    """Each of the table but the journal's, whose outage tests/ingest provokes."""
    association = associate(ingest.scp.port, [(information.PUSH_MODEL, ["1.2.840.10008.1.2"])])

    def status(references, action: int = 1, instance: str = information.PUSH_MODEL_INSTANCE):
        asked = information.action_information("1.2.9", references)
        answer, _ = association.send_n_action(asked, action, information.PUSH_MODEL, instance)
        return answer.Status

    one = [("1.2.840.10008.5.1.4.1.1.6.1", "1.2.3")]
    provoked = {status(one), status([]), status(one, action=2), status(one, instance="1.2")}
    constants = {
        value
        for name, value in vars(ingest_commitment).items()
        if type(value) is int and name != "REQUEST_COMMITMENT"
    }
    assert provoked | {0x0110} == constants
    assert {int(code, 16) for code in column("7-13", "Code")} == constants


def test_failure_reasons_of_storage_commitment() -> None:
    constants = {value for value in vars(verdict).values() if type(value) is int and value < 0x200}
    constants -= {verdict._GROUP_LENGTH_END}
    assert {int(code, 16) for code in column("5-5", "Failure Reason")} == constants


def test_what_the_delivery_ae_makes_of_each_status() -> None:
    *named, (other, rest) = [(row["Code"], row["Behaviour"]) for row in tables()["7-11"]]
    assert other == "any other"
    for status in range(0x10000):
        code = f"{status:04X}"
        said = [
            behaviour
            for pattern, behaviour in named
            if all(wanted in ("x", digit) for wanted, digit in zip(pattern, code, strict=True))
        ]
        outcome = SendOutcome(Path("sr.dcm"), "1.2", Answer.STATUS, status)
        assert [BEHAVIOUR[judge(outcome)]] == (said or [rest]), code


def test_what_the_delivery_ae_makes_of_failures_without_a_status() -> None:
    listed = {row["Failure"]: row["Behaviour"] for row in tables()["7-9"]}
    for failure, answer in (
        ("No presentation context for an object", Answer.NO_CONTEXT),
        ("No response to a C-STORE or a request in time", Answer.NO_ANSWER),
        ("Association aborted or connection closed", Answer.NOT_SENT),
    ):
        assert listed[failure] == BEHAVIOUR[judge(SendOutcome(Path("sr.dcm"), "1.2", answer))]


def test_what_the_delivery_ae_makes_of_each_http_status() -> None:
    status = 0

    def answer(request: Request) -> Response:
        return Response(status)

    server = WebServer(answer)
    client = StowClient(StowPeer(server.url))
    content = part10_bytes(created_objects()[REPORT][0].data_set)
    try:
        for status in range(200, 600):
            assert _behaviour(client, content) == _listed_behaviour(status), status
    finally:
        server.close()


def _behaviour(client: StowClient, content: bytes) -> str:
    try:
        (outcome,) = client.store([content])
    except AssociationFailed:
        return "try again"
    return BEHAVIOUR[judge(outcome)]


def _listed_behaviour(status: int) -> str:
    """By the row that names the status, else by the range that holds it."""
    ranges = {}
    for row in tables()["7-12"]:
        if "–" in row["HTTP status"]:
            first, last = map(int, row["HTTP status"].split("–"))
            ranges[range(first, last + 1)] = row["Behaviour"]
        elif status in map(int, row["HTTP status"].split(", ")):
            return row["Behaviour"]
    (behaviour,) = (behaviour for those, behaviour in ranges.items() if status in those)
    return behaviour


def test_store_request() -> None:
    table = {row["Field"]: row["Value"] for row in tables()["5-2"]}
    server = WebServer(lambda request: Response(200))
    content = part10_bytes(created_objects()[REPORT][0].data_set)
    try:
        StowClient(StowPeer(server.url)).store([content])
    finally:
        server.close()
    (request,) = server.requests
    assert request.path == table["Target resource"]
    assert request.headers["content-type"].startswith(table["Content-Type"] + ";")
    assert request.headers["accept"] == table["Accept"]
    assert request.headers["content-length"] == str(len(request.body))
    assert request.parts == [content]
    assert table["Transfer syntax of the part"].encode() in content[:500]
