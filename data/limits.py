"""Bounds that every part of the project shares. Imports nothing."""

MAX_ID_CHARS = 128
"""Longest item_id: what logs, bundles, and the service's addresses can carry."""

MAX_PRICE = 1e12
"""Highest price that any door takes: log, items file, frame and HTTP."""

LARGE_LOG_BYTES = 2 << 30
"""Largest text log that ingest reads whole: it takes 1.3 times its size in memory, so a machine of 4 GB holds it."""

PARTITION_BYTES = 1 << 29
"""Text of a larger log in memory at a time: a partition then takes no more than libraries and buffers do anyway."""

PARQUET_GROWS = 5
"""How many times as large as a parquet file its log is as text: 5 for a browsing log with session ids."""

PACKED_GROWS = 8
"""How many times as large as a gz, zst, bz2 or zip file its log is as text."""

MAX_PARTITIONS = 1_000
"""Each is a folder of small files while it is made: more would cost more in files than they spare in memory."""
