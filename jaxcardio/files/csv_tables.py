"""Tables of numbers as text, in the dialects that people have.

Separators are commas, semicolons, tabs or spaces; decimals have a point or a comma; text is UTF-8, UTF-16 or Latin-1;
lines before the numbers (a title, comments, names, a row of units) are looked at for names and units. An empty cell,
and NaN, NA, null or -, is a missing number. The numbers are parsed in pieces by numpy, and row by row where a piece is
not plain.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .columns import describe
from .units import find_unit

HEAD = 4 << 20
"""Bytes in which the dialect is looked for."""
LOOKED_AT = 300
"""Lines in which the numbers must begin."""
PIECE = 8 << 20
"""Characters parsed at a time."""
LONGEST_LINE = 16 << 20
MOST_COLUMNS = 100_000
LARGEST_FILE = 2 << 30
"""Bytes; the numbers of a table take up to four times as many."""
MISSING = {"", "nan", "na", "n/a", "#n/a", "null", "none", "-", "--", "?"}
COMMENTS = ("#", "%", "//")
SEPARATORS = ("\t", ";", ",", " ")
_NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "spaces"}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|[+-]?inf(inity)?$", re.IGNORECASE)


class Layout(NamedTuple):
    """What the first lines of a file say.

    Attributes:
        names: of the columns, as in the header, or None where there is none.
        units: of the columns, where there is a row of units.
        width: number of columns.
    """

    names: list[str] | None
    units: list[str] | None
    width: int
    dialect: "_Dialect"
    encoding: str
    first: int


class Piece(NamedTuple):
    """Some rows: values (rows, columns), NaN where a number is missing, and the line of each, counted from 1."""

    values: np.ndarray
    lines: Sequence[int] | np.ndarray


class _Dialect(NamedTuple):
    separator: str
    decimal: str
    """"" where no number seen so far has one."""
    width: int


def look_at(path: str | Path) -> Layout:
    """How the table in a text file is laid out; what is no table is a ValueError of one line."""
    size, most = os.path.getsize(path), min(LARGEST_FILE, _memory() / 8)
    if size > most:
        raise ValueError(f"path = {path}: {size:.3g} bytes of text; allowed on this machine: <= {most:.3g} bytes")
    with open(path, "rb") as file:
        head = file.read(HEAD)
    encoding = encoding_of(path, head)
    lines = _first_lines(head, encoding, whole=len(head) == size)
    if not lines:
        raise ValueError(f"path = {path}, row 1: a line of more than {HEAD >> 20} MiB; allowed: one row a sample")
    dialect, first = _dialect(path, lines)
    if dialect.width > MOST_COLUMNS:
        raise ValueError(
            f"path = {path}, row {first + 1}: {dialect.width} columns; allowed: <= {MOST_COLUMNS}, and one row a sample"
        )
    first = _above_bad_rows(lines, dialect, first)
    names, units, width = _header(lines, dialect, first)
    return Layout(names, units, width, dialect._replace(width=width), encoding, first)


def read_pieces(path: str | Path, layout: Layout) -> Iterator[Piece]:
    """The rows of the table; what is wrong with one is a ValueError of one line with file, row and column."""
    dialect = layout.dialect
    with open(path, encoding=layout.encoding, errors="replace", newline=None) as file:
        for _ in range(layout.first):
            file.readline(LONGEST_LINE)
        for start, text in _pieces(path, file, layout.first + 1):
            text = _tidy(text)
            values, lines, dialect = _parse(path, text, start, dialect, named=layout.names is not None)
            yield Piece(values, lines)


def _memory() -> float:
    """Bytes that are free now; without an answer, as many as any table needs."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return np.inf


def encoding_of(path: str | Path, head: bytes) -> str:
    """How the text that begins so is encoded; what is no text is a ValueError."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    pairs = np.frombuffer(head[: len(head) // 2 * 2], np.uint8).reshape(-1, 2) == 0
    share = pairs.mean(axis=0) if len(pairs) else np.zeros(2)
    if 0 in head and max(share) > 0.9 and min(share) < 0.01:
        return "utf-16-le" if share[1] > share[0] else "utf-16-be"
    if 0 in head:
        line = head[: head.index(0)].count(b"\n") + 1
        raise ValueError(f"path = {path}, row {line}: a byte 0, which text does not have; allowed: a table of text")
    try:
        head[: head.rfind(b"\n") + 1 or len(head)].decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252" if not set(head) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"
    return "utf-8-sig"


def _first_lines(head: bytes, encoding: str, whole: bool) -> list[str]:
    """The first lines, without one that may be cut, and without more than a megabyte of them."""
    text = io.StringIO(head.decode(encoding, errors="replace"), newline=None).read()
    lines = _tidy(text).split("\n")
    lines = lines if whole else lines[:-1]
    length, kept = 0, []
    for line in lines[:LOOKED_AT]:
        kept.append(line)
        length += len(line)
        if length > HEAD / 4 and len(kept) > 8:
            break
    return kept


def _tidy(text: str) -> str:
    """Text with a plain minus, and without byte-order marks: files that were joined have them in the middle."""
    return text.replace("\u2212", "-").replace("\ufeff", "")


def split(line: str, separator: str) -> list[str]:
    """The cells of a line, without quotes and without the spaces around them."""
    if separator == " ":
        parts = re.findall(r'"[^"]*"|[^\s"]+', line) if '"' in line else line.split()
        return [x.strip('"').strip() for x in parts]
    if '"' in line:
        try:
            return [x.strip() for x in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
        except (csv.Error, StopIteration):
            line = line.replace('"', "")
    return [x.strip() for x in line.split(separator)]


def _is_number(cell: str, decimal: str) -> bool:
    return bool(_NUMBER.match(cell.replace(",", ".") if decimal == "," else cell))


def _width(line: str, separator: str, decimal: str) -> int:
    """Cells of a line of numbers, missing ones at its end not counted; 0 of any other line."""
    if line.lstrip().startswith(COMMENTS):
        return 0
    cells = split(line, separator)
    while cells and not cells[-1]:
        cells.pop()
    good = all(x.lower() in MISSING or _is_number(x, decimal) for x in cells)
    return len(cells) if good and any(_is_number(x, decimal) for x in cells) else 0


def _dialect(path: str | Path, lines: list[str]) -> tuple[_Dialect, int]:
    """The dialect in which most lines are numbers in two columns or more, and the first line of numbers."""
    best, found = (0, 0), None
    for separator in SEPARATORS:
        for decimal in (".", ","):
            if separator == "," and decimal == "," and not any('"' in x for x in lines):
                continue
            widths = [_width(x, separator, decimal) for x in lines]
            score = (sum(w > 1 for w in widths), sum(w == 1 for w in widths))
            if score > best:
                best, found = score, (separator, decimal, widths)
    if found is None:
        raise ValueError(f"path = {path}: {_shown(lines)}; allowed: t_ms,V_mV[,...], then rows of numbers")
    separator, decimal, widths = found
    first = _first(widths, lines)
    if separator == "," and decimal == "." and _is_one_column(lines, widths, first):
        decimal, widths = ",", [_width(x, "\t", ",") for x in lines]
        separator = "\t"
    text = "".join(x for x, w in zip(lines, widths, strict=True) if w)
    if separator != "," and decimal == "." and "." not in text:
        decimal = ""
    return _Dialect(separator, decimal, widths[first]), first


def _first(widths: list[int], lines: list[str]) -> int:
    """The first of three lines of equally many numbers (a header may have one or two), or the first of all."""
    full = [k for k, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(COMMENTS)]
    for place, k in enumerate(full[:-2]):
        run = [widths[j] for j in full[place : place + 3]]
        if run[0] and min(run) > 0 and (run[0] == run[1] == run[2] or max(run) > 2):
            return k
    return next(k for k, w in enumerate(widths) if w)


def _above_bad_rows(lines: list[str], dialect: _Dialect, first: int) -> int:
    """The first row, where some of the first ones are bad: a line as wide as the rows that begins with a number is no
    header, nor is one with a number below a header. What is wrong with it is said where it is read."""
    separator, decimal, width = dialect
    rows, starts = [], [first]
    for k in range(first - 1, -1, -1):
        if not lines[k].strip() or lines[k].lstrip().startswith(COMMENTS):
            continue
        cells = split(lines[k], separator)
        kinds = {describe(x).kind for x in cells}
        if not any(_is_number(x, decimal) for x in cells) or "time" in kinds:
            if len(cells) == width and kinds & {"time", "potential"}:
                starts += rows
            break
        rows.append(k)
        if len(cells) == width and _is_number(cells[0], decimal):
            starts.append(k)
    return min(starts)


def _is_one_column(lines: list[str], widths: list[int], first: int) -> bool:
    """Whether the commas are decimal commas of a single column: its name has none."""
    above = [x for x in lines[:first] if x.strip()]
    if not above or "," in above[-1] or ";" in above[-1]:
        return False
    numbers = [x for x, w in zip(lines, widths, strict=True) if w]
    return all(x.count(",") <= 1 and "." not in x for x in numbers)


def _bare(line: str) -> str:
    """A line without the sign that makes it a comment."""
    line = line.strip().strip("\ufeff")
    for sign in COMMENTS:
        if line.startswith(sign):
            return line.lstrip(sign).strip()
    return line


def _cells_of_header(line: str, separator: str) -> list[str]:
    cells = split(_bare(line), separator)
    while cells and not cells[-1]:
        cells.pop()
    if separator == " ":  # `Time (s)` is one name
        joined: list[str] = []
        for cell in cells:
            if joined and cell.startswith(("(", "[")):
                joined[-1] += f" {cell}"
            else:
                joined.append(cell)
        return joined
    return cells


def _is_units(cells: list[str]) -> bool:
    known = [find_unit(x.strip("()[]")) for x in cells if x]
    return bool(known) and None not in known


def _header(lines: list[str], dialect: _Dialect, first: int) -> tuple[list[str] | None, list[str] | None, int]:
    """Names, units and number of the columns: the nearest line above the numbers that has as many cells as they."""
    above = [k for k in range(first - 1, -1, -1) if lines[k].strip()]
    names = units = None
    for k in above:
        separators = [dialect.separator, *(SEPARATORS if lines[k].lstrip().startswith(COMMENTS) else ())]
        cells = next((c for s in separators if len(c := _cells_of_header(lines[k], s)) == dialect.width), None)
        if cells is None:
            continue
        if units is None and names is None and _is_units(cells) and not _is_names(cells):
            units = [x.strip("()[]") for x in cells]
            continue
        names = cells
        break
    if names is None and units is None and above and not lines[above[0]].lstrip().startswith(COMMENTS):
        cells = _cells_of_header(lines[above[0]], dialect.separator)
        if len(cells) > 1:  # the rows may be short or long: those of another width are refused where they stand
            return cells, None, len(cells)
    return names, units, dialect.width


def _is_names(cells: list[str]) -> bool:
    """Whether cells that are units could be names: `t`, `V` are, in a header of one letter each."""
    return any(x.lower() in ("t", "time") for x in cells)


def _shown(lines: list[str]) -> str:
    first, second = [*(x for x in lines if x.strip()), "", ""][:2]
    then = f" (the next is {second[:60]!r})" if second else ""
    return f"header {first[:60]!r}, and no row of numbers in the first {LOOKED_AT} lines{then}"


def _pieces(path: str | Path, file: io.TextIOBase, number: int) -> Iterator[tuple[int, str]]:
    """The rest of the file in pieces of whole lines, and the number of the first line of each."""
    while text := file.read(PIECE):
        text += file.readline(LONGEST_LINE)
        count = text.count("\n")
        if len(text) - text.rfind("\n") - 1 >= LONGEST_LINE or (count == 0 and len(text) >= LONGEST_LINE):
            raise ValueError(f"path = {path}, row {number + count}: a line of more than {LONGEST_LINE >> 20} MiB")
        yield number, text
        number += count


def _parse(
    path: str | Path, text: str, start: int, dialect: _Dialect, named: bool
) -> tuple[np.ndarray, Sequence[int] | np.ndarray, _Dialect]:
    """Numbers of a piece, (rows, columns), the line of each row, and the dialect with what is now known of it."""
    separator, decimal, width = dialect
    if separator != "," and not decimal:
        dialect = dialect._replace(decimal="," if "," in text else "." if "." in text else "")
    for plain, its_separator in _plainer(text, dialect):
        values = _plain(plain, its_separator, width)
        if values is not None:
            return values, range(start, start + len(values)), dialect
    rows, numbers = [], []
    for number, line in enumerate(text.split("\n"), start):
        if not line.strip() or line.lstrip().startswith(COMMENTS):
            continue
        cells = split(line, separator)
        if not any(cells):  # spreadsheets end with rows of separators
            continue
        rows.append(_row(path, number, cells, dialect, named))
        numbers.append(number)
    return np.array(rows, float).reshape(len(rows), width), np.array(numbers, int), dialect


def _plainer(text: str, dialect: _Dialect) -> Iterator[tuple[str, str]]:
    """The piece, and its separator, with a decimal point, then also without separators at ends and with nan in gaps."""
    separator, decimal, width = dialect
    if decimal == ",":
        if "." in text or (separator == "," and ";" in text):
            return
        if separator == ",":
            text, separator = text.replace('","', ";").replace('"', ""), ";"
        text = text.replace(",", ".")
    yield text, separator
    if separator == " " or '"' in text:
        return
    if len(text.split("\n", 1)[0].split(separator)) == width + 1:
        text = text.replace(f"{separator}\n", "\n")
    for _ in range(2):
        text = text.replace(2 * separator, f"{separator}nan{separator}")
    yield text.replace(f"{separator}\n", f"{separator}nan\n"), separator


def _plain(text: str, separator: str, width: int) -> np.ndarray | None:
    """Of a piece in which every line is `width` plain numbers; None of any other."""
    if not text.strip():
        return None
    try:
        values = np.loadtxt(
            io.StringIO(text),
            delimiter=None if separator == " " else separator,
            comments=None,
            quotechar='"' if '"' in text else None,
            ndmin=2,
        )
    except ValueError:
        return None
    count = text.count("\n") + (not text.endswith("\n"))
    return values if values.shape == (count, width) else None


def _row(path: str | Path, number: int, cells: list[str], dialect: _Dialect, named: bool) -> list[float]:
    """The numbers of one line."""
    width, decimal = dialect.width, dialect.decimal
    while len(cells) > width and not cells[-1]:
        cells.pop()
    if len(cells) != width:
        as_in = "as in the header" if named else f"as in the first row (separated by {_NAMES[dialect.separator]})"
        raise ValueError(f"path = {path}, row {number}: {len(cells)} values; allowed: {width}, {as_in}")
    found = []
    for column, cell in enumerate(cells, 1):
        if cell.lower() in MISSING:
            found.append(np.nan)
        elif _is_number(cell, decimal) and not (decimal == "," and "." in cell):
            found.append(float(cell.replace(",", ".")))
        else:
            shown = repr(cell if len(cell) <= 40 else f"{cell[:40]}...")
            raise ValueError(
                f"path = {path}, row {number}, column {column}: {shown}; allowed: numbers"
                f"{' with a decimal comma' * (decimal == ',')}, or empty where one is missing"
            )
    return found
