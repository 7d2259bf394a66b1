"""A table of a report: the same rows for the terminal, for Markdown and for CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """title: one line. columns: their heads. rows: texts, as many as columns.

    mark: what a reader must not miss, such as that these are training images; part of the title.
    notes: sentences below the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    mark: str = ""
    notes: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """The title with its mark."""
        return f"{self.title}: {self.mark}" if self.mark else self.title

    def markdown(self) -> str:
        lines = [f"## {self.heading}", "", _row(self.columns), _row(["---"] * len(self.columns))]
        lines += [_row(row) for row in self.rows]
        for note in self.notes:
            lines += ["", note]
        return "\n".join([*lines, ""])

    def csv(self) -> str:
        """With one more column, which holds the mark, if there is one."""
        mark = [self.mark] if self.mark else []
        stream = StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*self.columns, *(["mark"] if mark else [])])
        writer.writerows([*row, *mark] for row in self.rows)
        return stream.getvalue()

    def print(self, console: Console) -> None:
        table = RichTable(
            title=self.heading, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for index, column in enumerate(self.columns):
            # No figure is cut: columns break between words only.
            words = [word for row in (self.columns, *self.rows) for word in row[index].split()]
            table.add_column(column, min_width=max(map(len, words), default=1), overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(note, style="dim")


def markdown_page(title: str, introduction: Sequence[str], tables: Sequence[Table]) -> str:
    """A whole report: introduction as a list, then the tables."""
    lines = [f"# {title}", "", *(f"- {line}" for line in introduction), ""]
    return "\n".join([*lines, *(table.markdown() for table in tables)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
