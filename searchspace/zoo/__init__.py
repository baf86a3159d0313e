"""Published networks as values: `get("mobilenet_v3_large", width=0.75)`, `names()`, `describe(name)`."""

from searchspace.zoo.catalogue import (
    describe,
    get,
    is_grown,
    is_name,
    load,
    names,
    published_top1,
    representatives,
    template,
)
