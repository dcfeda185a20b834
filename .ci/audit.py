"""What is known against the packages that a user gets: fails on a hole that is published.

    python .ci/audit.py

An index that can't be asked, or has no advisories, is told and isn't a fault of the code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # it knows only its own


def main() -> None:
    env = dict(os.environ)
    if os.path.exists(SYSTEM_CERTIFICATES):
        env.setdefault("REQUESTS_CA_BUNDLE", SYSTEM_CERTIFICATES)
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "-f", "json", str(ROOT)],
        check=False, env=env, capture_output=True, text=True,
    )  # fmt: skip
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"not audited: {(done.stderr.strip().splitlines() or ['no answer'])[-1][:300]}")
        return
    asked = [one for one in packages if "vulns" in one]
    print(
        f"{len(asked)} of {len(packages)} packages audited; the index knows nothing of the others"
    )
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {hole['fix_versions']}"
        for one in asked
        for hole in one["vulns"]
    ]
    if holes:
        sys.exit("\n".join(holes))


if __name__ == "__main__":
    main()
