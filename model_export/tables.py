"""A table of a report: the same rows for the terminal, for Markdown and for CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

_GAP = 2
"""Characters between two columns on the terminal."""


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
        """Columns break between words only: no figure is cut, however narrow the terminal."""
        table = RichTable(
            title=self.heading,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=(0, _GAP - 1, 0, 0),
            pad_edge=False,
        )
        widths = self._widths(console.width)
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(column, width=width, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        whole = sum(widths) + _GAP * len(widths)
        # rich squeezes a table into its console, whatever widths the columns ask for.
        Console(file=console.file, width=max(whole, console.width)).print(table)
        for note in self.notes:
            console.print(note, style="dim")

    def _widths(self, available: int) -> list[int]:
        """Of the columns: each at least its longest word; what is left goes to the first ones."""
        lines = (self.columns, *self.rows)
        columns = [[line[index] for line in lines] for index in range(len(self.columns))]
        widths = [
            max((len(word) for cell in cells for word in cell.split()), default=1)
            for cells in columns
        ]
        spare = max(0, available - sum(widths) - _GAP * len(widths))
        for index, cells in enumerate(columns):
            more = min(spare, max(map(len, cells)) - widths[index])
            widths[index] += more
            spare -= more
        return widths


def markdown_page(title: str, introduction: Sequence[str], tables: Sequence[Table]) -> str:
    """A whole report: introduction as a list, then the tables."""
    lines = [f"# {title}", "", *(f"- {line}" for line in introduction), ""]
    return "\n".join([*lines, *(table.markdown() for table in tables)])


def p_text(p_value: float) -> str:
    """Three digits, as papers print it."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def signed_text(value: float, lower: float, upper: float) -> str:
    """A difference with its interval."""
    return f"{value:+.3f} ({lower:+.3f} to {upper:+.3f})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
