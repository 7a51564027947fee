"""Counts the failed cases of a kit's JSON report that are meant: kits_known.py KIT REPORT LIST

Each line of LIST is `kit || case || reason`. A listed case that does not fail any more is an error: the list is to be
true.
"""
import json
import sys

kit, report, listed = sys.argv[1:]
results = json.load(open(report))["results"]
failed = {r["case"] for r in results if r["ok"] is False}
lines = [line.split(" || ") for line in open(listed) if line.strip() and not line.startswith("#")]
meant = [case for of, case, _ in lines if of == kit]
stale = [case for case in meant if case not in failed]
for case in stale:
    print(f"listed as a known difference, but it passes: {case}", file=sys.stderr)
print(sum(case in failed for case in meant))
sys.exit(1 if stale else 0)
