"""What a command imports, seen from a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "mmdet", "mmcv", "mmengine", "ray", "matplotlib"}

_CODE = """
import json, sys
from fineseg.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""


def heavy_after(*arguments: object, folder: Path | None = None) -> set[str]:
    """Run a command, which must succeed, and return which of the heavy packages it has imported."""
    command = [sys.executable, "-c", _CODE, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))
