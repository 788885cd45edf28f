"""Packages that are hardly needed are read as late as they are needed, and then they work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.base import unread

# In an interpreter of its own: this one's may have been read.
UNREAD = """
import sys, threading
from types import ModuleType
from jobs.base.unread import COMPILER, Unread, leave_compiler_unread

leave_compiler_unread()
import torch

def double(x):
    return 2 * x

package, frames, rules = torch._dynamo, torch._dynamo.eval_frame, torch._dynamo.trace_rules
for mark in (torch.compiler.disable, torch.compiler.allow_in_graph, torch.compiler.assume_constant_result):
    assert mark(double) is double
assert torch.compiler.disable(recursive=False)(double) is double
assert not isinstance(torch.nn.Linear(1, 1), frames.OptimizedModule)
package.trace_rules.clear_lru_cache()
assert isinstance(package, Unread) and not hasattr(package, "__wrapped__")
assert "torch._dynamo.convert_frame" not in sys.modules

together, found = threading.Barrier(4), []
def ask():
    together.wait()
    found.append(torch._dynamo.config.recompile_limit)
threads = [threading.Thread(target=ask) for _ in range(4)]
for each in (*threads,):
    each.start()
for each in threads:
    each.join()
assert len(found) == 4 and len(set(found)) == 1

assert package is sys.modules[COMPILER] is torch._dynamo and type(package) is ModuleType
module = torch.compile(torch.nn.Linear(2, 2), backend="eager")
assert isinstance(module, package.eval_frame.OptimizedModule) and frames.innermost_fn is package.eval_frame.innermost_fn
assert frames.OptimizedModule is package.eval_frame.OptimizedModule
assert rules.lookup is package.trace_rules.lookup and rules.clear_lru_cache() is None
assert torch.compile(double, backend="eager", fullgraph=True)(torch.ones(2)).tolist() == [2, 2]
assert torch.compiler.disable(double) is not double
leave_compiler_unread()
assert torch._dynamo is package
"""


SCIPY = """
import sys, threading
from jobs.base.unread import SCIPY, Unread, leave_scipy_unread

leave_scipy_unread()
from diffusers import FlowMatchEulerDiscreteScheduler, LMSDiscreteScheduler
from transformers.loss.loss_for_object_detection import linear_sum_assignment
import scipy.integrate, scipy.optimize, scipy.stats

assert all(isinstance(sys.modules[name], Unread) for name in SCIPY) and "scipy.linalg" not in sys.modules
scheduler = FlowMatchEulerDiscreteScheduler(use_beta_sigmas=True)
together = threading.Barrier(3)
def ask():
    together.wait()
    scheduler._convert_to_beta(scheduler.sigmas, 4)
threads = [threading.Thread(target=ask) for _ in range(3)]
for each in (*threads,):
    each.start()
for each in threads:
    each.join()
scheduler.set_timesteps(8)
other = LMSDiscreteScheduler()
other.set_timesteps(8)
print([scheduler.sigmas.tolist(), other.get_lms_coefficient(2, 3, 1)])
assert [list(each) for each in linear_sum_assignment([[4, 1], [2, 3]])] == [[0, 1], [1, 0]]
assert scipy.optimize.linear_sum_assignment is not linear_sum_assignment
assert not any(isinstance(sys.modules[name], Unread) for name in SCIPY) and scipy.stats is sys.modules["scipy.stats"]
"""

MODULES = """
import sys
from types import ModuleType
from jobs.base.unread import COMPILER, SCIPY, Unread, leave_compiler_unread, leave_scipy_unread

leave_compiler_unread()
leave_scipy_unread()
ran = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        ran.append(name)
import torch
import transformers.masking_utils
assert all(isinstance(sys.modules[name], Unread) for name in (COMPILER, *SCIPY))
sys.meta_path.insert(1, Watch())
from scipy.stats.contingency import crosstab
import scipy.integrate._ivp
import torch._dynamo.config
from torch._dynamo.eval_frame import OptimizedModule
from scipy.optimize import *
assert minimize is scipy.optimize.minimize
assert not any(isinstance(sys.modules[name], Unread) for name in (COMPILER, *SCIPY))
for name in ("scipy.stats.contingency", "scipy.integrate._ivp", "torch._dynamo.config", "torch._dynamo.eval_frame"):
    module, package = sys.modules[name], sys.modules[name.rpartition(".")[0]]
    assert type(package) is ModuleType and getattr(package, name.rpartition(".")[2]) is module
    assert module.__spec__.name == name and module.__spec__.origin == module.__file__
    assert ran.count(name) == 1, name
"""


@pytest.mark.slow
def test_modules_of_a_package_are_imported_after_it_and_once() -> None:
    done = subprocess.run([sys.executable, "-c", MODULES], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_a_package_that_could_not_be_read_says_so_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn_package.py").write_text("from nowhere_at_all import anything\n")
    monkeypatch.syspath_prepend(tmp_path)
    unread._leave_unread("torn_package", unread.Unread)
    try:
        for _ in range(2):
            with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
                sys.modules["torn_package"].anything  # noqa: B018
    finally:
        del sys.modules["torn_package"]


@pytest.mark.slow
def test_schedulers_take_from_scipy_what_they_would_have_taken() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, LMSDiscreteScheduler

    done = subprocess.run([sys.executable, "-c", SCIPY], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr
    scheduler, other = FlowMatchEulerDiscreteScheduler(use_beta_sigmas=True), LMSDiscreteScheduler()
    scheduler.set_timesteps(8)
    other.set_timesteps(8)
    assert json.loads(done.stdout) == [scheduler.sigmas.tolist(), other.get_lms_coefficient(2, 3, 1)]


@pytest.mark.slow
def test_it_is_what_it_would_have_been_once_it_is_needed() -> None:
    done = subprocess.run([sys.executable, "-c", UNREAD], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
