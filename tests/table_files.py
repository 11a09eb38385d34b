"""The same rows as files of every form, for tests of what reads them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from seqcls.data.datasets.files import FilesDataset
from seqcls.data.splits import Splits

Rows = list[dict[str, Any]]
GOOD: Rows = [{"text": f"text, number {n}", "label": ("neg", "pos")[n % 2]} for n in range(6)]


def as_csv(rows: Rows, **settings: Any) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), **settings)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_tsv(rows: Rows) -> bytes:
    return as_csv(rows, delimiter="\t")


def as_jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: Rows) -> bytes:
    names = dict.fromkeys(name for row in rows for name in row)
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), sink)
    return sink.getvalue()


def as_arrow(rows: Rows) -> bytes:
    table = pyarrow.parquet.read_table(io.BytesIO(as_parquet(rows)))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


FORMS: dict[str, Callable[[Rows], bytes]] = {
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".jsonl": as_jsonl,
    ".json": lambda rows: json.dumps(rows, indent=1).encode(),
    ".parquet": as_parquet,
    ".arrow": as_arrow,
}


Write = Callable[[str, bytes], str]


def load(path: str, **options: Any) -> Splits:
    return FilesDataset(path=path, **options).load()


def pairs(splits: Splits, name: str = "train") -> list[tuple[str, str]]:
    split = splits.labelled()[name]
    return [(text, splits.label_names[label]) for text, label in split]  # type: ignore[index]


def as_pairs(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["text"], str(row["label"])) for row in rows]


def where(form: str, row: int) -> str:
    """Return where a row of a table, numbered from 1, stands."""
    return {".csv": f"line {row + 1}", ".tsv": f"line {row + 1}", ".jsonl": f"line {row}", ".json": f"item {row}"}.get(
        form, f"row {row}"
    )
