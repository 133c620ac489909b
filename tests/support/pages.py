"""Tables in documents that are generated from records: what stands between two marks is the record's, nothing else."""

from __future__ import annotations


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def with_part(page: str, name: str, text: str) -> str:
    """The page with `text` between the marks of that name. Raises ValueError when a mark is missing or stands twice."""
    begin, end = marks(name)
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{text}\n{end}{after}"
