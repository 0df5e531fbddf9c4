import subprocess
import sys


def test_no_core_file_is_written_and_the_limit_cannot_be_raised() -> None:
    program = """
import resource
from serving.process.core_dumps import forbid_core_dumps
forbid_core_dumps()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
