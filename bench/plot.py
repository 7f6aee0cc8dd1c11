"""Draws proving times as an SVG: ours, the floor of the same run, EZKL where it was measured, and others' own claims.

Results are files of `assay-bench prove --out` and `assay-bench peers --out`; where several have a model, the last one
counts, except that a measurement beside EZKL is preferred, since both sides are of one run. Claims were read in the
material of those projects and were made on their machines.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

MODELS = ("mlp", "lenet5", "cnn264k", "dense4m", "mnist2m")
OURS, THEIRS, CLAIMED = "#1b6ca8", "#c0392b", "#7f8c8d"


def read(paths: list[Path]) -> tuple[dict, dict, str]:
    """Reports by model, runs of EZKL by model, and the machine."""
    reports, ezkl, machines = {}, {}, {}
    for path in paths:
        content = json.loads(path.read_text())
        machine = content["machine"]
        machines[f"{machine['cpu']}, {machine['cores']} cores"] = path
        for entry in content["results"]:
            model = entry["model"]
            if entry.get("peer") == "EZKL":
                ours = {report["system"]: report for report in entry["assay"]}
                reports[model], ezkl[model] = ours["groth16"], entry["ezkl"]
            elif model not in ezkl and entry.get("system", "groth16") == "groth16":
                reports[model] = entry
    if len(machines) != 1:
        raise SystemExit(f"the results are of different machines: {', '.join(machines) or 'none'}")
    return reports, ezkl, next(iter(machines))


def seconds(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.3g} s"


def draw(reports: dict, ezkl: dict, claims: list[dict], machine: str, output: Path) -> None:
    models = [model for model in MODELS if model in reports]
    figure, axes = plt.subplots(figsize=(8.6, 0.9 + 0.78 * len(models)))
    # Three places in a row: ours, EZKL's, a claim.
    height = 0.28
    for row, model in enumerate(models):
        report = reports[model]
        ours, floor = report["prove_seconds"], report["floor_seconds"]
        axes.barh(row - height, ours, height, color=OURS, label="assay")
        axes.text(max(ours, floor) * 1.15, row - height, seconds(ours), va="center", fontsize=8)
        axes.plot([floor] * 2, [row - 1.6 * height, row - 0.4 * height], color="black", linewidth=1.6, label="floor, same run")
        for run in sorted(ezkl.get(model, []), key=lambda run: run["prove_seconds"])[:1]:
            theirs = run["prove_seconds"]
            axes.barh(row, theirs, height, color=THEIRS, label=f"EZKL {run['version']}, same run")
            note = f"{seconds(theirs)}, scale {run['scale']}: {theirs / ours:,.0f} times"
            axes.text(theirs * 1.15, row, note, va="center", fontsize=8)
        for claim in claims:
            if claim["model"] == model:
                theirs = claim["prove_seconds"]
                axes.plot(theirs, row + height, "D", markerfacecolor="white", markeredgecolor=CLAIMED,
                          label="claim of that project, its machine")
                note = f"{claim['project']}: {seconds(theirs)}, {claim['machine']}"
                axes.text(theirs * 1.25, row + height, note, va="center", fontsize=8, color="#4d5656")
    labels = [f"{model}\n{reports[model]['parameters']:,} parameters" for model in models]
    axes.set_yticks(range(len(models)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    longest = max([run["prove_seconds"] for runs in ezkl.values() for run in runs] + [3.0])
    axes.set_xlim(5e-3, longest * 30)
    axes.set_xlabel(f"seconds to prove ({machine}; logarithmic)", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    # Each kind of mark once.
    entries = dict(zip(*reversed(axes.get_legend_handles_labels())))
    axes.legend(entries.values(), entries.keys(), fontsize=8, frameon=False, ncols=4, loc="lower center",
                bbox_to_anchor=(0.42, 1.0))
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None})


def main() -> None:
    results = Path(__file__).parent / "results"
    parser = argparse.ArgumentParser(description="Draw proving times beside their floor and peers as an SVG.")
    parser.add_argument("results", nargs="+", type=Path, help="files of raw results")
    parser.add_argument("-o", "--output", type=Path, default=results / "prove.svg", help="default: %(default)s")
    arguments = parser.parse_args()
    # The same numbers give the same bytes.
    plt.rcParams.update({"svg.hashsalt": "assay", "svg.fonttype": "none", "font.family": "sans-serif"})
    reports, ezkl, machine = read(arguments.results)
    draw(reports, ezkl, json.loads((results / "claims.json").read_text()), machine, arguments.output)


if __name__ == "__main__":
    main()
