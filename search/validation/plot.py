"""The figure of a comparison."""

from pathlib import Path

from search.validation.comparison import Comparison
from studies.figure import new_figure, save_figure


def plot(found: Comparison, path: Path) -> None:
    """Draw tau of each with its interval, over all pairs and within the band. Raises InvalidArgument, StorageError."""
    figure = new_figure(path)
    axes = figure.subplots()
    names = list(found.agreements)[::-1]
    for shift, colour, label, in_band in (
        (0.12, "tab:blue", "all pairs", False),
        (-0.12, "tab:orange", f"MACs within {found.truth.band:g} x", True),
    ):
        axes.plot([], [], "o", color=colour, label=label)
        for at, name in enumerate(names):
            tau = found.agreements[name].in_band if in_band else found.agreements[name].tau
            if tau.value is None or tau.low is None or tau.high is None:
                continue
            error = [[max(0.0, tau.value - tau.low)], [max(0.0, tau.high - tau.value)]]
            axes.errorbar(tau.value, at + shift, xerr=error, fmt="o", color=colour, capsize=2)
    if found.ceiling is not None and found.ceiling.value is not None:
        axes.axvline(found.ceiling.value, linestyle=":", color="gray", label="ceiling: two seeds")
    axes.axvline(0.0, linewidth=0.5, color="black")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="Kendall tau with its 95 % interval", title=f"{len(found.truth.accuracy)} networks trained fully")
    axes.legend(fontsize="small")
    save_figure(figure, path)
