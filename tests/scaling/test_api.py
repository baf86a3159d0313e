"""`scaling.compound(...)` in Python: the same as the command, from any import."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import scaling
from scaling.formula import Coefficients
from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.spec import read_spec
from searchspace.zoo.efficientnet import B0

IMPORTS = (
    "import scaling; grow = scaling.compound",
    "import scaling.compound; grow = scaling.compound",
    "from scaling import compound as grow",
    "from scaling.compound import compound as grow, main; import scaling; assert scaling.compound.main is main",
    "from scaling import compound as grow; import scaling.compound; assert grow is scaling.compound",
)


def test_the_function_and_the_command_share_a_name_after_imports_in_any_order_and_need_no_torch() -> None:
    lines = ["import sys", "fresh = set(sys.modules)"]
    for order in IMPORTS:
        lines += [order, "print(grow(phi=1).spec.resolution, 'torch' in sys.modules)"]
        lines += ["for name in [name for name in sys.modules if name.startswith('scaling')]: del sys.modules[name]"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["258 False"] * len(IMPORTS), done.stderr


def test_a_spec_a_template_a_name_and_nothing_are_networks_to_grow(tmp_path: Path) -> None:
    spec = zoo.get("mobilenet_v2")
    path = tmp_path / "best.json"
    path.write_text(spec.to_json())
    grown = {scaling.compound(one, phi=1).spec.fingerprint() for one in (spec, path, str(path))}
    assert len(grown) == 1
    b2 = B0.expand(width=1.1, depth=1.2, resolution=258, name="efficientnet_b0_phi1")
    assert scaling.compound(phi=1).spec == scaling.compound(B0, phi=1).spec == b2


def test_a_notebook_shows_the_functions_signature() -> None:
    assert list(inspect.signature(scaling.compound).parameters)[:3] == ["network", "phi", "target_ms"]


def test_a_result_has_specs_a_table_and_files(tmp_path: Path) -> None:
    family = scaling.compound("mnasnet_a1", phi=[0, 1, 2], coefficients=Coefficients(1.2, 1.1, 1.1))
    assert [spec.resolution for spec in family.specs] == [224, 246, 271]
    assert [line.split()[0] for line in family.table().splitlines()[2:6]] == ["base", "0", "1", "2"]
    with pytest.raises(InvalidArgument, match="3 networks: take one of its specs"):
        family.save(tmp_path / "grown.json")
    one = scaling.compound("mnasnet_a1", target_macs=200e6)
    one.save(tmp_path / "grown.json")
    assert read_spec(tmp_path / "grown.json") == one.spec


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ({"phi": 1, "target_macs": 1e9}, "one target or by --phi"),
        ({"rule": "fastest"}, "--rule must be one of compound"),
        ({"phi": [1, 2], "epochs": 1}, "--epochs writes one network, got 2"),
        ({"data": "digits"}, "belongs to training"),
        ({"target_macs": float("nan")}, "--target-macs must be above 0, got nan"),
    ],
)
def test_a_wrong_argument_is_refused_as_on_the_command_line(flags: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidArgument, match=rule):
        scaling.compound(**flags)
