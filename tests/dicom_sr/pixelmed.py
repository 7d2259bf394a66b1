"""PixelMed's DicomSRValidator, started once for many documents: each start takes four seconds.

As a program it reads a path a line, and answers with the validator's lines and an empty one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

JAR = "/usr/share/java/pixelmed.jar"
# The templates are a large program for Java's XPath, and their methods are longer than Java
# compiles by itself.
OPTIONS = (
    *(f"-Djdk.xml.{limit}=0" for limit in ("xpathExprOpLimit", "xpathTotalOpLimit")),
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-XX:-DontCompileHugeMethods",
    "-XX:+UseSerialGC",
)

Shape = tuple[object, ...]


class PixelMed:
    """The validator, in a process of its own: the signal handlers of Java and pytest disagree."""

    def __init__(self) -> None:
        assert Path(JAR).exists(), "PixelMed is not installed: apt-get install pixelmed-apps"
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def complaints(self, document: Path) -> list[str]:
        """The errors and the warnings on the content tree of a document."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{document}\n")
        process.stdin.flush()
        lines = [line.rstrip("\n") for line in iter(process.stdout.readline, "\n")]
        assert "IOD validation complete" in lines, lines
        return [line for line in lines if line.startswith(("Error", "Warning"))]

    def stop(self) -> None:
        self._process.communicate()


def shape(document: Dataset) -> Shape:
    """All of a content tree that PixelMed judges, which knows templates and context groups.

    It looks at no text, number, coordinate, frame and UID: trees that differ in these alone
    have the same shape.
    """
    return document.SOPClassUID, *_shape(document)


def _shape(item: Dataset) -> Iterator[object]:
    for keyword in ("RelationshipType", "ValueType", "GraphicType"):
        yield item.get(keyword)
    for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence"):
        yield from _codes(item, keyword)
    for template in item.get("ContentTemplateSequence", ()):
        yield template.TemplateIdentifier
    for measured in item.get("MeasuredValueSequence", ()):
        yield from _codes(measured, "MeasurementUnitsCodeSequence")
    for reference in item.get("ReferencedSOPSequence", ()):
        yield reference.ReferencedSOPClassUID, "ReferencedFrameNumber" in reference
    yield tuple(tuple(_shape(inner)) for inner in item.get("ContentSequence", ()))


def _codes(item: Dataset, keyword: str) -> Iterator[object]:
    for code in item.get(keyword, ()):
        yield keyword, code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning


def _answer() -> None:
    import jpype

    jpype.startJVM(*OPTIONS, classpath=[JAR])
    validator = jpype.JClass("com.pixelmed.validate.DicomSRValidator")()
    for line in sys.stdin:
        said = str(validator.validate(line.rstrip("\n")))
        print("\n".join(part for part in said.splitlines() if part), end="\n\n", flush=True)


if __name__ == "__main__":
    _answer()
