"""Read data frames through the Arrow C stream interface, which pandas, polars, Arrow, DuckDB and others offer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lambda_star.calibration.readers.columnar import table_columns
from lambda_star.calibration.readers.parts import Part
from lambda_star.calibration.readers.plain import ROWS, arrow_parts
from lambda_star.calibration.table import TableError

__all__ = ["frame_parts"]


def frame_parts(frame: Any, source: str, keep_going: bool) -> Iterator[Part]:
    """Yield the rows of an object with ``__arrow_c_stream__``, part by part.

    >>> import pyarrow
    >>> row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -0.001, "log_b": -0.7}
    >>> next(frame_parts(pyarrow.Table.from_pylist([row]), "frame", False)).table.modal.tolist()
    ['[']
    """
    import pyarrow

    try:
        with pyarrow.RecordBatchReader.from_stream(frame) as reader:
            wanted = table_columns(source, reader.schema.names)
            batches = (batch.select(wanted) for batch in reader)
            pieces = (batch.slice(start, ROWS) for batch in batches for start in range(0, batch.num_rows, ROWS))
            yield from arrow_parts(pieces, source, keep_going)
    except pyarrow.ArrowException as error:
        said = f'a column cannot be read ({error}); give `Table.from_rows` its rows, `frame.to_dict("records")`'
        raise TableError(source, said) from error
