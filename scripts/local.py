"""What `scripts/bench local` needs beside `ltv`: a clock for processes, a vectorised rival, a comparison of values.

    local.py timed NAME CUSTOMERS COMMAND...        run a command; customers a second and peak memory
    local.py vectorised TRANSACTIONS MODEL AS_OF    P(alive), purchases of a year and mean spend, not discounted, with
                                                    pandas and SciPy on one thread
    local.py same LOCAL FLEET                       whether two files of values agree in each bit
"""

import csv
import json
import resource
import struct
import subprocess
import sys
import time


def timed(name, customers, *command):
    began = time.perf_counter()
    status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    took = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status == 0:
        print(
            f"{name:<12} {took:6.2f} s, {int(customers) / took:9,.0f} customers/s, "
            f"{used.ru_utime + used.ru_stime:6.2f} CPU s, {used.ru_maxrss / 1024:6,.0f} MiB at its peak"
        )
    return status


def vectorised(transactions, model, as_of):
    import numpy
    import pandas
    from scipy.special import gammaln, hyp2f1

    rows = pandas.read_csv(transactions, usecols=["customer_id", "occurred_at", "amount"])
    moments = pandas.to_datetime(rows["occurred_at"], format="%Y-%m-%dT%H:%M:%SZ")
    end = pandas.Timestamp(as_of.rstrip("Z")).to_datetime64().astype("datetime64[D]").astype(int) - 1
    rows["day"] = moments.to_numpy().astype("datetime64[D]").astype(int)
    days = rows.groupby(["customer_id", "day"], sort=True)["amount"].sum().reset_index()
    by_customer = days.groupby("customer_id", sort=True)
    first, last = by_customer["day"].min().to_numpy(), by_customer["day"].max().to_numpy()
    x = by_customer.size().to_numpy() - 1
    spend = by_customer["amount"].sum().to_numpy() - by_customer["amount"].first().to_numpy()
    t_x, age = (last - first) / 7, (end - first) / 7

    # BG/NBD: P(alive) and the purchases of a year (Fader, Hardie & Lee 2005, eq. 10); Gamma-Gamma: the mean spend.
    r, alpha, a, b = (float(model["bg_nbd"][name]) for name in ("r", "alpha", "a", "b"))
    p, q, v = (float(model["gamma_gamma"][name]) for name in ("p", "q", "v"))
    horizon = 365.2425 / 7
    odds = numpy.where(
        x > 0, a / (b + numpy.maximum(x, 1) - 1) * ((alpha + age) / (alpha + t_x)) ** (r + x), 0
    )
    p_alive = 1 / (1 + odds)
    z = horizon / (alpha + age + horizon)
    expected = (a + b + x - 1) / (a - 1) * p_alive
    expected *= 1 - (1 - z) ** (r + x) * hyp2f1(r + x, b + x, a + b + x - 1, z)
    mean = p * (v / 100 + spend) / (p * x + q - 1)
    total = (expected * mean).sum()
    print(f"{len(x)} customers, {total:.0f} expected in a year (not discounted)")
    return 0


def same(local, fleet):
    with open(local, newline="") as ours, open(fleet, newline="") as theirs:
        ours, theirs = csv.DictReader(ours), csv.DictReader(theirs)
        columns = theirs.fieldnames
        missing = [name for name in columns if name not in ours.fieldnames]
        if missing:
            sys.exit(f"{local} has no column {missing[0]}")
        count = 0
        # Who was rejected has a row in the file, and none among the fleet's values.
        valued = (row for row in ours if not row["rejection"])
        for one, other in zip(valued, theirs, strict=True):
            for name in columns:
                if one[name] != other[name] and not is_same_number(name, one[name], other[name]):
                    sys.exit(
                        f"customer {one['customer_id']}: {name} is {one[name]} in one process, {other[name]} in the fleet"
                    )
            count += 1
    print(f"{count} values, {len(columns)} columns: the same to the bit in one process and in the fleet")
    return 0


# Single precision, in the fleet's table and in the program.
SINGLE = {"own_rate", "own_spend", "relative_width"}


def is_same_number(name, one, other):
    """Both print a float with the fewest digits that read back to it, but not alike: 1e-5 and 1e-05, 1.0 and 1; and of
    two texts that are as short, either."""
    width = "f" if name in SINGLE else "d"
    try:
        one, other = float(one), float(other)
    except ValueError:
        return False
    return struct.pack(width, one) == struct.pack(width, other) and abs(one) < 2**53


def main():
    match sys.argv[1:]:
        case ["timed", name, customers, *command]:
            return timed(name, customers, *command)
        case ["vectorised", transactions, model, as_of]:
            with open(model) as file:
                return vectorised(transactions, json.load(file)["parameters"], as_of)
        case ["same", local, fleet]:
            return same(local, fleet)
    sys.exit(__doc__)


sys.exit(main())
