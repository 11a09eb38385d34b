"""Look for known vulnerabilities in the versions that a file of constraints pins; skipped where nobody can be asked."""

import json
import subprocess
import sys

command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
command += ["--format", "json", "--requirement", sys.argv[1]]
try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
except subprocess.TimeoutExpired:
    sys.exit(print("skipped: the service did not answer within 30 s"))
try:
    found = json.loads(done.stdout)["dependencies"]
except ValueError:
    sys.exit(print(f"skipped: the service cannot be asked: {(done.stderr.splitlines() or ['no reason given'])[-1]}"))
asked = [one for one in found if "skip_reason" not in one]
if not asked:
    sys.exit(print(f"skipped: {found[0]['skip_reason'] if found else 'nothing is pinned'}"))
vulnerable = [f"{one['name']} {one['version']}: {fault['id']}" for one in asked for fault in one["vulns"]]
print(f"asked about {len(asked)} of {len(found)} packages")
sys.exit("\n".join(vulnerable) or None)
