#!/usr/bin/env python3
"""Makes customers.csv and transactions.csv for `ltv load` from CDNOW_sample.txt, in the folder of this script.

    python3 data/cdnow/convert.py            writes both files
    python3 data/cdnow/convert.py --check    exits 1 unless both files are what it would write

Each line of the original has five columns, separated by blanks: the customer's number in the whole data set, in
the sample, the date, how many CDs, how many dollars. Needs nothing but Python 3.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main():
    lines = [line.split() for line in (FOLDER / "CDNOW_sample.txt").read_text().splitlines() if line.strip()]

    first_purchase = {}
    customers = {}
    transactions = ["transaction_id,customer_id,occurred_at,amount,currency"]
    for transaction_id, (master, sample, date, _cds, dollars) in enumerate(lines, start=1):
        customer_id = int(sample)
        day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
        customers[customer_id] = f"cdnow-{master}"
        first_purchase[customer_id] = min(first_purchase.get(customer_id, day), day)
        transactions.append(f"{transaction_id},{customer_id},{day},{dollars},USD")

    rows = ["customer_id,external_id,segment,acquired_at"]
    for customer_id in sorted(customers):
        rows.append(f"{customer_id},{customers[customer_id]},cdnow,{first_purchase[customer_id]}")

    files = {"customers.csv": rows, "transactions.csv": transactions}
    if sys.argv[1:] == ["--check"]:
        changed = [name for name, rows in files.items() if (FOLDER / name).read_text() != text(rows)]
        if changed:
            sys.exit(f"{', '.join(changed)}: not what convert.py writes; run it")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        for name, rows in files.items():
            (FOLDER / name).write_text(text(rows), newline="\n")


def text(rows):
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
