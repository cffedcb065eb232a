"""Compiles the C kernels while kansym is installed or a wheel is made; goes on without a compiler.

KANSYM_KERNELS=torch leaves them out on purpose.
"""

from __future__ import annotations

import os
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or os.environ.get("KANSYM_KERNELS") == "torch":
            return
        root = Path(self.root)
        try:
            libraries = _build_module(root).build()
        except RuntimeError as error:
            self.app.display_warning(f"kansym without its C kernels, only slower: {error}")
            return
        build_data["artifacts"] += [path.relative_to(root).as_posix() for path in libraries]
        # The libraries know nothing of Python: any version will do, on this kind of machine.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"


def _build_module(root: Path) -> ModuleType:
    """kansym/kernels/build.py by its path: kansym itself needs torch, which is not here."""
    spec = spec_from_file_location("kernels_build", root / "kansym" / "kernels" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
