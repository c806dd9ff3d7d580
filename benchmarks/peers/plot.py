"""Draws tokens a second and the first token by streams, from a results file."""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib  # pyright: ignore[reportMissingImports]

matplotlib.use("Agg")
# A picture that does not change where the figures do not.
matplotlib.rcParams["svg.hashsalt"] = "jeton"
matplotlib.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot  # noqa: E402  # pyright: ignore[reportMissingImports]

_PANELS = (
    ("tokens_per_second", "tokens/s, all streams together", False),
    ("time_to_first_token_median", "seconds to the first token, median", True),
)


def main(source: str, target: str) -> None:
    results = json.loads(Path(source).read_bytes())
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for axis, (name, label, is_logarithmic) in zip(axes, _PANELS, strict=True):
        for contender in results["contenders"]:
            points = _points(results, contender["name"], name)
            if not points:
                continue
            is_ours = contender["name"] in ("jeton", "engine")
            axis.plot(
                *zip(*points, strict=True),
                marker="o",
                linewidth=2.5 if is_ours else 1.2,
                linestyle="-" if contender["is_http"] else "--",
                label=_label(contender),
            )
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 4, 16, 32], ["1", "4", "16", "32"])
        axis.set_xlabel("streams at once")
        axis.set_ylabel(label)
        if is_logarithmic:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("{x:g}")
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(
        "128 new tokens, sampled, prompts of 30 tokens; solid: through HTTP, dashed: in process", fontsize=10
    )
    figure.savefig(target, metadata={"Date": None} if target.endswith(".svg") else None)


def _label(contender: dict[str, Any]) -> str:
    title, precision = contender["title"].replace("*", "").replace("`", ""), contender["precision"]
    return title if precision in title else f"{title} ({precision})"


def _points(results: dict[str, Any], contender: str, figure: str) -> list[tuple[int, float]]:
    found: dict[int, list[float]] = {}
    for run in results["runs"]:
        start, _, streams = run["configuration"].rpartition("/")
        if run["contender"] == contender and start == "sampled/short" and run["figures"]:
            found.setdefault(int(streams), []).append(run["figures"][figure])
    return sorted((streams, median(values)) for streams, values in found.items())


if __name__ == "__main__":
    main(*sys.argv[1:])
