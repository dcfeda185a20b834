"""Fail if a dependency of the package has a published vulnerability: `python .ci/audit.py`.

Asks the package index about the dependencies that a user gets, through pip-audit. An index that
can't be reached or that has no advisories isn't a fault of the code: that is printed, and the exit
code is 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# pip-audit has certificates of its own, which don't include those of a company's proxy
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def main() -> None:
    """Run pip-audit and print what it found."""
    environment = dict(os.environ)
    if os.path.exists(SYSTEM_CERTIFICATES):
        environment.setdefault("REQUESTS_CA_BUNDLE", SYSTEM_CERTIFICATES)
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "-f", "json", str(ROOT)],
        check=False, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"not audited: {(done.stderr.strip().splitlines() or ['no answer'])[-1][:300]}")
        return
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print(f"not audited: the index answers for none of the {len(packages)} packages")
        return
    print(f"{len(audited)} of {len(packages)} packages audited: the index doesn't know the others")
    vulnerabilities = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in "
        + (", ".join(vulnerability["fix_versions"]) or "no version")
        for package in audited
        for vulnerability in package["vulns"]
    ]
    if vulnerabilities:
        sys.exit("\n".join(vulnerabilities))


if __name__ == "__main__":
    main()
