"""The Python package `lifetimes` on the rows of benches/compared.rs: ROWS.csv, and how many of them to fit."""

import sys
import time

import pandas
from lifetimes import BetaGeoFitter, GammaGammaFitter

rows = pandas.read_csv(sys.argv[1])
to_fit = rows.head(int(sys.argv[2]))

began = time.perf_counter()
model = BetaGeoFitter()
model.fit(to_fit["frequency"], to_fit["recency"], to_fit["T"])
took = time.perf_counter() - began
found = " ".join(f"{name} {model.params_[name]:.6f}" for name in ("r", "alpha", "a", "b"))
log_likelihood = -model._negative_log_likelihood_ * len(to_fit)
print(f"lifetimes  fit of {len(to_fit)}: {took:.3f} s at {found}, log-likelihood {log_likelihood:.4f}")

again = to_fit[(to_fit["frequency"] > 0) & (to_fit["monetary_value"] > 0)]
spend = GammaGammaFitter()
spend.fit(again["frequency"], again["monetary_value"])

began = time.perf_counter()
model.conditional_probability_alive(rows["frequency"], rows["recency"], rows["T"])
expected = model.conditional_expected_number_of_purchases_up_to_time(
    52.1775, rows["frequency"], rows["recency"], rows["T"]
)
mean = spend.conditional_expected_average_profit(rows["frequency"], rows["monetary_value"])
total = (expected * mean).sum()
took = time.perf_counter() - began
print(f"lifetimes  {len(rows)} values: {took:.3f} s, {len(rows) / took:.0f}/s, total {total:.0f} (not discounted)")
