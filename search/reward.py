"""Rewards: accuracy and latency as one number to maximise. `accuracy` is a fraction, latencies are in ms."""

from collections.abc import Callable

Reward = Callable[[float, float, float], float]


def feasible(accuracy: float, latency_ms: float, budget_ms: float) -> float:
    """Accuracy within the budget, 0 above it.

    The constrained problem itself: maximise ACC(m) subject to LAT(m) <= T (MnasNet, arXiv:1807.11626, eq. 1).
    """
    return accuracy if latency_ms <= budget_ms else 0.0


def mnas_soft(accuracy: float, latency_ms: float, budget_ms: float) -> float:
    """ACC(m) x (LAT(m) / T)^w with w = -0.07 on both sides of the budget.

    Source: MnasNet, arXiv:1807.11626, eq. 2 and 3 with alpha = beta = -0.07.
    """
    return float(accuracy * (latency_ms / budget_ms) ** -0.07)


def mnas_hard(accuracy: float, latency_ms: float, budget_ms: float) -> float:
    """ACC(m) x (LAT(m) / T)^w with w = 0 within the budget and -1 above it.

    Source: MnasNet, arXiv:1807.11626, eq. 2 and 3 with alpha = 0, beta = -1.
    """
    return accuracy * min(1.0, budget_ms / latency_ms)


def absolute(accuracy: float, latency_ms: float, budget_ms: float, *, beta: float = 0.07) -> float:
    """ACC(m) - beta x |LAT(m) / T - 1|: the budget is aimed at, not merely stayed under.

    Source: TuNAS (arXiv:2008.06120), the absolute reward r = Q + beta |T/T0 - 1| with beta < 0; here beta is its size.
    The default makes one percent of latency worth 0.07 points of accuracy, as MnasNet's exponent does near T.
    """
    return accuracy - beta * abs(latency_ms / budget_ms - 1.0)


REWARDS: dict[str, Reward] = {
    "feasible": feasible,
    "mnas-soft": mnas_soft,
    "mnas-hard": mnas_hard,
    "absolute": absolute,
}
