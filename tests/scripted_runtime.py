"""A simulated machine whose true kernel times are known: it stands for a real runtime, and takes no time.

Pass one as `runtime=...` to table_for, measure_specs, check and the like. The fixture `scripted_runtimes` of
tests/conftest.py also makes it known by name: then `--runtime scripted`, `runtime("scripted")` and the table's identity
lead to it, so that whole commands run without a real measurement.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from search.device import Device
from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.measurement import Measurement, Progress, measure_specs
from search.latency.reference import REFERENCE
from search.latency.runtimes import RuntimeInfo
from searchspace.cost import layer_params_macs
from searchspace.graph import Layer, lower
from searchspace.latency.estimate import kind_of
from searchspace.latency.table import SCHEMA, Identity, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec
from tests.scripted import Ticks

MAKING_S = 0.002  # for each layer of a timer that is made, on a quiet machine
NETWORK_FACTOR = 1.05  # a network takes so many times the sum of its kernels


def true_ns(layer: Layer) -> float:
    """What a kernel takes on the quiet machine: a constant, its MACs, its output values."""
    return 20_000 + layer_params_macs(layer)[1] / 20 + layer.out_shape[0] * layer.out_shape[1] ** 2


def true_ms(spec: NetworkSpec) -> float:
    """What a network takes on the quiet machine."""
    return NETWORK_FACTOR * sum(true_ns(layer) for layer in lower(spec).layers) / 1e6


def uneven(layer: Layer) -> float:
    """Factors of kernels that no formula knows: 10 % by the kind, 10 % by the kernel itself."""
    kind, own = repr((kind_of(layer)[:3], layer.groups > 1, layer.activation)), repr(layer.signature)
    return math.exp(random.Random(kind).gauss(0, 0.1) + random.Random(own).gauss(0, 0.1))


def uneven_network(spec: NetworkSpec) -> float:
    """Factors of networks that no sum of kernels knows: 1.2 %."""
    return math.exp(random.Random(spec.fingerprint()).gauss(0, 0.012))


class ScriptedRuntime:
    """A Runtime (search.latency.interleave) of known times.

    `drift`: how far the machine's speed wanders from call to call, within `slow` times its quiet time. `lag`: where it
    is slow by a factor, all but the reference are slow by that to the power 1 - lag. `session_effect`: all but the
    reference take so many times their time. `network_factor(spec)`: and this network so many times that. `noise`: the
    relative deviation of each call, the reference's excepted. `kernel_factor(layer)`: this kernel takes so many times
    its time, also in networks, those that only this machine knows: the reference excepted. `stop_after`: the number of
    the call at which Ctrl-C is pressed. `clock`: goes on by what calls take, and by MAKING_S for each layer of a timer
    that is made. `identity` overrides the fields of the machine's identity.
    """

    def __init__(
        self,
        *,
        threads: int = 2,
        drift: float = 0.0,
        slow: tuple[float, float] = (1.0, 2.0),
        lag: float = 0.0,
        session_effect: float = 1.0,
        network_factor: Callable[[NetworkSpec], float] = lambda spec: 1.0,
        noise: float = 0.0,
        kernel_factor: Callable[[Layer], float] = lambda layer: 1.0,
        stop_after: int | None = None,
        clock: Ticks | None = None,
        identity: dict[str, Any] | None = None,
    ) -> None:
        self.calls = 0
        self.timed: list[PlacedBlock] = []  # every isolated block that timers were made for
        self.networks: list[NetworkSpec] = []  # every network that timers were made for
        self.calls_of: list[int] = []  # the calls of each timer
        self._identity = {"threads": threads} | (identity or {})
        self._drift, self._slow, self._lag, self._noise = drift, slow, lag, noise
        self._session_effect, self._network_factor, self._stop_after = session_effect, network_factor, stop_after
        self._kernel_factor, self._clock = kernel_factor, clock or Ticks()
        self._rng, self._speed = random.Random(0), slow[0]

    def identity(self, resolution: int) -> Identity:
        """See Runtime."""
        identity = Identity(
            schema=SCHEMA,
            machine="abacus",
            runtime="scripted",
            threads=2,
            dtype="float32",
            batch=1,
            memory_format="channels_last",
            resolution=resolution,
            versions={},
        )
        return identity | self._identity  # type: ignore[return-value]

    def network(self, spec: NetworkSpec) -> Timer:
        """See Runtime."""
        self.networks.append(spec)
        self._clock.pass_s(MAKING_S * self._speed * len(lower(spec).layers))
        return self._timer([1e6 * self.true_ms(spec)], is_reference=spec == REFERENCE)

    def module(self, module: object, spec: NetworkSpec) -> Timer:
        """See Runtime: as its spec, whatever the module is."""
        return self.network(spec)

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        """See Runtime."""
        self.timed += blocks
        layers = [layer for block in blocks for layer in block.layers]
        self._clock.pass_s(MAKING_S * self._speed * len(layers))
        return self._timer([true_ns(layer) * self._kernel_factor(layer) for layer in layers], is_reference=False)

    def true_ms(self, spec: NetworkSpec) -> float:
        """What a network takes on this machine where it is quiet."""
        if spec == REFERENCE:
            return true_ms(spec)
        kernels_ns = sum(true_ns(layer) * self._kernel_factor(layer) for layer in lower(spec).layers)
        return NETWORK_FACTOR * kernels_ns / 1e6 * self._network_factor(spec)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """See Runtime."""
        yield

    def _timer(self, parts: Sequence[float], *, is_reference: bool) -> Timer:
        number = len(self.calls_of)
        self.calls_of.append(0)

        def call() -> list[int]:
            self.calls += 1
            self.calls_of[number] += 1
            if self._stop_after is not None and self.calls > self._stop_after:
                raise KeyboardInterrupt
            self._speed *= 1 + self._drift * self._rng.uniform(-1, 1)
            self._speed = min(self._slow[1], max(self._slow[0], self._speed))
            factor = self._speed
            if not is_reference:
                factor = self._session_effect * self._speed ** (1 - self._lag)
                factor *= self._rng.gauss(1, self._noise) if self._noise else 1.0
            self._clock.pass_s(factor * sum(parts) / 1e9)
            return [round(part * factor) for part in parts]

        return call


RUNTIME = RuntimeInfo("scripted", ("fp32",), lambda device, dtype, threads: ScriptedRuntime(threads=threads))

SPACE = mnasnet_space(resolution=64, classes=5).with_choices(
    {
        "*.expand_ratio": (3, 6),
        "*.kernel": (3,),
        "*.se": (False, True),
        "*.activation": ("relu",),
        "*.layers": (1, 2),
        "*.width_mult": (1.0,),
        "stage1.expand_ratio": (1,),
    }
)
WIDER_SPACE = SPACE.with_choices({"stage3.kernel": (3, 5)})


def some_networks(space: SearchSpace = SPACE, count: int = 20) -> list[NetworkSpec]:
    """Random networks of a space, the same ones in every call."""
    rng = random.Random(99)
    return [space.spec(space.sample(rng)) for _ in range(count)]


def uneven_machine(
    *, slow: tuple[float, float] = (1.0, 1.2), clock: Ticks | None = None, **more: Any
) -> ScriptedRuntime:
    """A machine of uneven kernels and networks that is noisy and wanders."""
    given = {"noise": 0.02, "drift": 0.02, "kernel_factor": uneven, "network_factor": uneven_network, **more}
    return ScriptedRuntime(slow=slow, clock=clock, **given)


class ScriptedDevice(Device):
    """The device of a scripted runtime, whatever the table's identity says."""

    def __init__(self, runtime: ScriptedRuntime) -> None:
        self.runtime = runtime

    def is_of(self, table: LatencyTable) -> bool:
        """See Device."""
        return True

    def measure(
        self,
        specs: Sequence[NetworkSpec],
        *,
        modules: object = None,
        table: LatencyTable,
        seconds: float = 6.0,
        progress: Progress | None = None,
    ) -> list[Measurement]:
        """See Device."""
        return measure_specs(specs, table=table, seconds=seconds, runtime=self.runtime)
