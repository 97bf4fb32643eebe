from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, resource, sys
import sanitizer.provenance.delivery, sanitizer.provenance.envelope, sanitizer.provenance.ledger, sanitizer.provenance.trust
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "modules": sorted(sys.modules)}))
"""
HEAVY = {"numpy", "pandas", "pyarrow", "requests", "urllib3", "sqlalchemy", "pydantic", "sklearn", "tuf.ngclient", "airflow"}


def test_provenance_is_light_enough_for_a_training_job():
    told = json.loads(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True).stdout)
    assert not HEAVY & set(told["modules"])
    assert not [m for m in told["modules"] if m.split(".")[0] in HEAVY]
    # the interpreter's own start included; generous, because the first run also compiles
    assert told["cpu"] < 1.0
