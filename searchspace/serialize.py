"""Specs to and from JSON by their former names; new code asks `NetworkSpec` and `searchspace.spec.read_spec`."""

from typing import Any

from searchspace.spec import NetworkSpec, read_spec

__all__ = ["read_spec", "spec_from_json", "spec_to_dict"]

spec_from_json = NetworkSpec.from_json


def spec_to_dict(spec: NetworkSpec) -> dict[str, Any]:
    """`spec.to_dict()`."""
    return spec.to_dict()
