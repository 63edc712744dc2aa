"""What dev/gpu_compare.py's numbers are held against in the end."""

# What is aimed at: of which rows, what of a row, and whether that is to be at most or at least so much.
MICROSECONDS = 1e3
CERTIFIED, SWEEPS = "MIRA, certified 1e-5", "MIRA, 30 sweeps"
TARGETS = [
    ("4096x3000 certified, in copies", (4096, 3000, CERTIFIED), lambda row, cold: row[cold] / row["copy_" + cold], "at most", 6),
    ("4096x3000 certified, times faster than 30 sweeps of eager PyTorch", (4096, 3000, CERTIFIED), lambda row, cold: row["eager_" + cold] / row[cold], "at least", 30),
    ("4096x3000 certified, times faster than those replayed from a graph", (4096, 3000, CERTIFIED), lambda row, cold: row["graphed_" + cold] / row[cold], None, None),
    ("4096x3000 certified, times faster than those by torch.compile", (4096, 3000, CERTIFIED), lambda row, cold: row["compiled_" + cold] / row[cold], "at least", 10),
    ("4096x3000 30 sweeps, times faster than eager PyTorch", (4096, 3000, SWEEPS), lambda row, cold: row["eager_" + cold] / row[cold], "at least", 10),
    ("512x3000 certified, µs", (512, 3000, CERTIFIED), lambda row, cold: MICROSECONDS * row[cold], "at most", 40),
    ("512x3000 30 sweeps, µs", (512, 3000, SWEEPS), lambda row, cold: MICROSECONDS * row[cold], "at most", 100),
]


def verdicts(rows):
    """A line a target: what was measured with inputs in L2 and cold, of each kind of f32 logits."""
    for name, wanted, value_of, bound, target in TARGETS:
        found = []
        for row in rows:
            if (row["batch"], row["num_prototypes"], row["method"]) != wanted or row["logits"] != "f32":
                continue
            for cold, how in [("milliseconds", ""), ("cold_milliseconds", " cold")]:
                try:
                    value = value_of(row, cold)
                except (KeyError, TypeError, ZeroDivisionError):  # not measured
                    continue
                met = bound is None or (value <= target if bound == "at most" else value >= target)
                found.append(f"{row['data']}{how} {value:.3g}" + ("" if met else " MISSED"))
        yield f"{name}" + (f" ({bound} {target})" if bound else "") + f": {'; '.join(found) or 'not measured'}"
