#!/usr/bin/env python3
"""Makes wildlife_strikes.csv from the copy of the register in the npm package vega-datasets.

Usage: examples/wildlife-strikes/derive.py [package.tgz]
Without an argument the package is fetched with `npm pack`. The result is the same every time.
"""

import csv
import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile

PACKAGE = "vega-datasets@3.2.1"
MEMBER = "package/data/birdstrikes.csv"
MEMBER_SHA256 = "45777edf69984b37599e73dbfb34dbc976055243547407214261a4fcb9466462"
# The package's columns in order, and what they are called here.
COLUMNS = {
    "Airport Name": "airport",
    "Aircraft Make Model": "aircraft",
    "Effect Amount of damage": "damage",
    "Flight Date": "flight_date",
    "Aircraft Airline Operator": "operator",
    "Origin State": "state",
    "Phase of flight": "flight_phase",
    "Wildlife Size": "wildlife_size",
    "Wildlife Species": "species",
    "Time of day": "time_of_day",
    "Cost Other": "cost_other_usd",
    "Cost Repair": "cost_repair_usd",
    "Cost Total $": "cost_total_usd",
    "Speed IAS in knots": "speed_knots",
}


def fetch(folder):
    name = subprocess.run(
        ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()
    return pathlib.Path(folder, name)


def main():
    with tempfile.TemporaryDirectory() as folder:
        package = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else fetch(folder)
        with tarfile.open(package) as archive:
            source = archive.extractfile(MEMBER).read()
    found = hashlib.sha256(source).hexdigest()
    if found != MEMBER_SHA256:
        sys.exit(f"{MEMBER} has the SHA-256 {found}, expected {MEMBER_SHA256}")
    rows = csv.DictReader(io.StringIO(source.decode("utf-8"), newline=""))
    if rows.fieldnames != list(COLUMNS):
        sys.exit(f"{MEMBER} has the columns {rows.fieldnames}")
    result = pathlib.Path(__file__).with_name("wildlife_strikes.csv")
    with result.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["report", *COLUMNS.values()])
        # The package has no key; the number of the line stands in for the register's own.
        count = 0
        for count, row in enumerate(rows, start=1):
            writer.writerow([count, *(row[column] for column in COLUMNS)])
    print(f"{result}: {count} rows")


main()
