"""Parquet, Arrow and Feather files, read by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqcls.data.datasets.rows import BadRow, Row, Table
from seqcls.data.datasets.text_files import COMPRESSED, form_of, import_pyarrow, open_bytes
from seqcls.errors import DataError

SUFFIXES = {".parquet", ".pq", ".arrow", ".feather"}


def open_arrow(path: Path) -> Table:
    """Open a Parquet, Arrow or Feather file.

    Raises:
        DataError: The file is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = import_pyarrow()
    try:
        schema, batches = _open_parquet(path) if form_of(path) in (".parquet", ".pq") else _open_ipc(path)
    except pyarrow.ArrowException as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return Table(list(schema.names), _arrow_rows(batches))


def _arrow_source(path: Path) -> Any:
    """Map the file into memory; decompress a compressed file there, since its parts are read in any order."""
    pyarrow = import_pyarrow()
    if path.suffix.lower() not in COMPRESSED:
        return pyarrow.memory_map(str(path))
    with open_bytes(path) as file:
        return pyarrow.BufferReader(file.read())


def _open_parquet(path: Path) -> tuple[Any, Iterator[Any]]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(_arrow_source(path))
    return file.schema_arrow, file.iter_batches(batch_size=1000)


def _open_ipc(path: Path) -> tuple[Any, Iterator[Any]]:
    import pyarrow.ipc

    source = _arrow_source(path)
    try:
        file = pyarrow.ipc.open_file(source)
    except pyarrow.ArrowInvalid:  # a stream, which has no footer
        source.seek(0)
        stream = pyarrow.ipc.open_stream(source)
        return stream.schema, iter(stream)
    return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


def _arrow_rows(batches: Iterator[Any]) -> Iterator[Row | BadRow]:
    number = 0
    try:
        for batch in batches:
            names, columns = batch.schema.names, [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                yield Row(f"row {number}", dict(zip(names, values, strict=True)))
    except (import_pyarrow().ArrowException, UnicodeError) as error:
        yield BadRow(f"after row {number}", f"the file is damaged: {error}", fatal=True)
