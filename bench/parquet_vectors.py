"""Small Parquet files in every layout that the reader of corpora knows: parquet_vectors.py [FOLDER]

Needs pyarrow (pip install pyarrow). Writes crates/data/tests/vectors/*.parquet: the same 60 rows under each codec and
encoding, and some files that are to be refused. crates/data/src/source/unpack/parquet/tests.rs knows the rows.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 60


def text(row):
    """What stands in a row; every seventh has nothing."""
    if row % 7 == 3:
        return None
    words = [f"word{(row * 31 + place * 17) % 97}" for place in range(8 + row % 5)]
    return f"row {row}: " + " ".join(words) + (" äöü 漢字\n" if row % 4 == 0 else "")


def table(nullable=True):
    rows = range(ROWS)
    texts = [text(row) if nullable else text(row) or "" for row in rows]
    meta = [None if row % 5 == 0 else {"title": f"title {row}" if row % 2 else None} for row in rows]
    schema = pa.schema([
        pa.field("id", pa.int64()),
        pa.field("text", pa.string(), nullable=nullable),
        pa.field("license", pa.string()),
        pa.field("meta", pa.struct([pa.field("title", pa.string())])),
        pa.field("lines", pa.list_(pa.string())),
    ])
    columns = {
        "id": list(rows),
        "text": texts,
        "license": ["MIT" if row % 2 else "Apache-2.0" for row in rows],
        "meta": meta,
        "lines": [[f"line {row}", "x"] for row in rows],
    }
    return pa.table(columns, schema=schema)


def main():
    default = Path(__file__).parent.parent / "crates/data/tests/vectors"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)

    def write(name, rows=None, **options):
        options = {"row_group_size": 25, "data_page_size": 400, "write_batch_size": 8, "store_schema": False} | options
        pq.write_table(table() if rows is None else rows, folder / f"{name}.parquet", **options)

    for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
        write(codec, compression=codec)
    write("plain", compression="none", use_dictionary=False, write_page_checksum=True)
    write("required", rows=table(nullable=False), compression="snappy", use_dictionary=False)
    for name, encoding in [("lengths", "DELTA_LENGTH_BYTE_ARRAY"), ("strings", "DELTA_BYTE_ARRAY")]:
        encodings = {"text": encoding, "license": encoding, "meta.title": encoding}
        write(name, compression="zstd", use_dictionary=False, column_encoding=encodings, data_page_version="2.0")
    write("second", compression="snappy", data_page_version="2.0", write_page_checksum=True)
    # Nobody writes 300 MB of the same line; a dictionary and a run of one number say it in a few bytes.
    same = pa.table({"text": pa.array(["the same again " * 100] * 200_000).dictionary_encode()})
    write("bomb", rows=same, compression="zstd", row_group_size=200_000, data_page_size=1 << 20, write_batch_size=1024)


if __name__ == "__main__":
    main()
