"""Packages whose names are imported when they are first used (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def exports(
    package: str, modules: Sequence[str], module_of: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: its `__name__`.
        modules: public names that are its modules.
        module_of: the other public names, and the module of the package that defines each.
    """
    names = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        names[name] = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        return names[name]

    return get, lambda: sorted({*names, *modules, *module_of}), [*modules, *module_of]
