#!/usr/bin/env python3
"""Vectors of the epoch function, computed in floating point from the equations in `verifier/src/yuma.rs`, not from the Rust code.

    python3 yuma.py > yuma.json

Each case has `input`, a file that `assay epoch FILE --json` takes, and `output`, what it has to print within 1e-6. Bonds
are stored as floor(65535 b) / 65535 between epochs.
"""

import json
import math
import random


def part(x, whole):
    return x / whole if whole else 0.0


def consensus(stake, weights, kappa):
    """For each miner the greatest weight that at least kappa of the stake gives or exceeds."""
    levels = []
    for miner in range(len(weights[0])):
        column = sorted(((row[miner], s) for row, s in zip(weights, stake)), reverse=True)
        held, level = 0.0, 0.0
        for weight in sorted({w for w, _ in column}, reverse=True):
            held = math.fsum(s for w, s in column if w >= weight)
            if held >= kappa - 1e-12:
                level = weight
                break
        levels.append(level)
    return levels


def rate(case, target, level, bond, any_level):
    if not case["liquid_alpha"] or not any_level:
        return 1.0 - case["bonds_moving_average"]
    distance = max(0.0, target - level) if target >= bond else bond - target
    sigmoid = 1.0 / (1.0 + math.exp(-case["steepness"] * (distance - 0.5)))
    return case["alpha_low"] + sigmoid * (case["alpha_high"] - case["alpha_low"])


def epoch(case, stakes, scores, bonds):
    stake = [part(s, math.fsum(stakes)) for s in stakes]
    weights = [[part(w, math.fsum(row)) for w in row] for row in scores]
    levels = consensus(stake, weights, case["kappa"])
    clipped = [[min(w, c) for w, c in zip(row, levels)] for row in weights]
    rank = [math.fsum(s * row[j] for s, row in zip(stake, clipped)) for j in range(len(levels))]
    incentive = [part(r, math.fsum(rank)) for r in rank]
    penalty, some = case["bonds_penalty"], any(levels)
    moved = []
    for i, row in enumerate(weights):
        moved.append([])
        for j, weight in enumerate(row):
            target = (1.0 - penalty) * weight + penalty * clipped[i][j]
            a = rate(case, target, levels[j], bonds[i][j], some)
            moved[i].append(min(1.0, (1.0 - a) * bonds[i][j] + a * target))
    totals = [math.fsum(row[j] for row in moved) for j in range(len(levels))]
    earned = [
        s * math.fsum(part(row[j], totals[j]) * incentive[j] for j in range(len(levels)))
        for s, row in zip(stake, moved)
    ]
    dividends = [part(e, math.fsum(earned)) for e in earned]
    kept = [[math.floor(b * 65535.0) / 65535.0 for b in row] for row in moved]
    return kept, {
        "consensus": levels,
        "incentive": incentive,
        "dividends": dividends,
        "bonds": kept,
        "validator_trust": [math.fsum(row) for row in clipped],
    }


def run(case):
    first = case["epochs"][0]
    bonds = [[0.0] * len(first["weights"][0]) for _ in first["stake"]]
    out = []
    for entry in case["epochs"]:
        bonds, result = epoch(case, entry["stake"], entry["weights"], bonds)
        out.append(result)
    return {"epochs": out}


def parameters(**changes):
    usual = {
        "kappa": 0.5,
        "liquid_alpha": False,
        "alpha_low": 0.1,
        "alpha_high": 0.3,
        "steepness": 10.0,
        "bonds_moving_average": 0.9,
        "bonds_penalty": 1.0,
    }
    return usual | changes


def moving(case, stakes, rows):
    return case | {"epochs": [{"stake": stakes, "weights": weights} for weights in rows]}


def drawn(seed, case, validators, miners, epochs):
    """Scores that drift from epoch to epoch.

    None is 0: a bond that only decays can fall on the border of a unit, where two roundings may differ.
    """
    rng = random.Random(seed)
    stakes = [rng.randint(1, 1000) for _ in range(validators)]
    rows = [[rng.randint(1, 1000) for _ in range(miners)] for _ in range(validators)]
    history = []
    for _ in range(epochs):
        history.append([list(row) for row in rows])
        rows = [[max(1, w + rng.randint(-300, 300)) for w in row] for row in rows]
    return moving(case, stakes, history)


def main():
    one, other = [1, 0], [0, 1]
    cases = {
        "all agree": moving(parameters(), [8, 1, 1], [[one, one, one]] * 3),
        "the small one moves first": moving(
            parameters(), [8, 1, 1], [[one, one, one], [one, other, one], [other, other, one], [other, other, other]] * 2
        ),
        "a cartel below half": moving(parameters(), [40, 35, 25], [[[0, 1, 0], [1, 0, 1], [1, 0, 1]]] * 6),
        "half is enough": moving(parameters(), [50, 50], [[[1, 3], [1, 1]]] * 2),
        "nobody scores": moving(parameters(), [5, 5], [[[0, 0], [0, 0]]] * 2),
        "liquid rates": moving(
            parameters(liquid_alpha=True), [8, 1, 1], [[one, one, one], [other, other, one], [other, other, other]] * 3
        ),
        "half a penalty": drawn(1, parameters(bonds_penalty=0.5), 4, 5, 6),
        "no penalty": drawn(2, parameters(bonds_penalty=0.0), 5, 4, 6),
        "drift": drawn(3, parameters(kappa=0.6), 7, 9, 8),
        "liquid drift": drawn(4, parameters(liquid_alpha=True, alpha_low=0.05, alpha_high=0.9, steepness=5.0), 6, 8, 8),
    }
    vectors = [{"name": name, "input": case, "output": run(case)} for name, case in cases.items()]
    lines = ",\n".join(json.dumps(vector) for vector in vectors)
    print(f"[\n{lines}\n]")


main()
