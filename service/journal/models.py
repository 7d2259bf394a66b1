"""Which model package scores which study: all images of a study get the same."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, union, update

from service.journal import jobs
from service.journal.records import ImageState
from service.journal.schema import image, result, study_model


def of_study(connection: Connection, study_instance_uid: str) -> str | None:
    """Digest of the package that the study has; None before its first image is scored."""
    found: str | None = connection.execute(
        select(study_model.c.package_sha256).where(
            study_model.c.study_instance_uid == study_instance_uid
        )
    ).scalar_one_or_none()
    return found


def first_to_score(connection: Connection, study_instance_uid: str) -> str | None:
    """Digest of the model file that gave the study's first score; None without any."""
    found: str | None = connection.execute(
        select(result.c.model_sha256)
        .join(image, image.c.key == result.c.image_key)
        .where(image.c.study_instance_uid == study_instance_uid)
        .where(result.c.state == ImageState.ANALYSED)
        .order_by(result.c.id)
        .limit(1)
    ).scalar_one_or_none()
    return found


def choose(
    connection: Connection,
    study_instance_uid: str,
    package_sha256: str,
    instead_of: str | None,
    now: datetime,
) -> str:
    """The study's package: this one, unless another transaction has chosen already.

    instead_of: what is to be replaced; a study that has another one keeps it.
    Raises Conflict if another transaction chooses at the same moment.
    """
    chosen = of_study(connection, study_instance_uid)
    if chosen is None:
        connection.execute(
            insert(study_model).values(
                study_instance_uid=study_instance_uid,
                package_sha256=package_sha256,
                chosen_at=now,
            )
        )
        return package_sha256
    if chosen != instead_of:
        return chosen
    connection.execute(
        update(study_model)
        .where(study_model.c.study_instance_uid == study_instance_uid)
        .values(package_sha256=package_sha256, chosen_at=now)
    )
    return package_sha256


def ask(connection: Connection, key: str, package_sha256: str, now: datetime) -> None:
    """An operator wants this package for the image, and so for what its study still gets."""
    uid = connection.execute(
        update(image)
        .where(image.c.key == key)
        .values(model_asked=package_sha256)
        .returning(image.c.study_instance_uid)
    ).scalar_one()
    if uid is not None:
        choose(connection, uid, package_sha256, of_study(connection, uid), now)


def awaited(connection: Connection) -> set[str]:
    """Packages that images which wait for their analysis were promised."""
    asked = select(image.c.model_asked).where(jobs.unfinished(image))
    chosen = (
        select(study_model.c.package_sha256)
        .join(image, image.c.study_instance_uid == study_model.c.study_instance_uid)
        .where(jobs.unfinished(image))
    )
    found = connection.execute(union(asked, chosen)).scalars()
    return {package for package in found if package is not None}
