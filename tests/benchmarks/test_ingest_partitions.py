"""The benchmark of partitions compares like with like: it raises unless both sides make one content; a small log."""

from tests.benchmarks.ingest_partitions import run


def test_a_partitioned_ingest_and_one_in_one_piece_are_compared_on_the_same_log(tmp_path):
    figures = run(rows=20_000, partitions=3, workdir=tmp_path)
    assert figures["one_piece"]["hash"] == figures["in_partitions"]["hash"] == figures["opened"]["hash"]
    assert figures["one_piece"]["temporary_gb"] == 0
    assert figures["in_partitions"]["peak_gb"] > figures["imports_gb"] > 0
    assert list(tmp_path.iterdir()) == []
