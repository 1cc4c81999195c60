"""The door of the bridge: it needs PyTorch, says so, and is the only part that imports it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lambda_star.torch

WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    return done.stdout


def test_without_torch_the_bridge_names_the_extra_to_install() -> None:
    code = f"{WITHOUT_TORCH}\ntry:\n    import lambda_star.torch\nexcept ImportError as error:\n    print(error)"
    assert in_a_new_process(code) == (
        "lambda_star.torch needs PyTorch; install it with: pip install 'lambda-star[torch]'\n"
    )


@pytest.mark.slow
def test_torch_is_imported_for_the_bridge_alone() -> None:
    loaded = "print('torch' in sys.modules)"
    code = f"import sys, lambda_star; {loaded}; import lambda_star.torch; {loaded}"
    assert in_a_new_process(code) == "False\nTrue\n"


def test_the_door_shows_what_it_opens() -> None:
    pytest.importorskip("transformers", reason="two of its names need transformers: pip install 'lambda-star[trl]'")
    assert set(lambda_star.torch.__all__) <= set(dir(lambda_star.torch))
    assert all(getattr(lambda_star.torch, name).__name__ == name for name in lambda_star.torch.__all__)
