"""torch's compiler is read as late as it is needed, and then it works."""

import subprocess
import sys

import pytest

# In an interpreter of its own: this one's may have been read.
UNREAD = """
import sys, threading
from types import ModuleType
from jobs.base.uncompiled import COMPILER, Unread, leave_compiler_unread

leave_compiler_unread()
import torch

def double(x):
    return 2 * x

package, frames = torch._dynamo, torch._dynamo.eval_frame
for mark in (torch.compiler.disable, torch.compiler.allow_in_graph, torch.compiler.assume_constant_result):
    assert mark(double) is double
assert torch.compiler.disable(recursive=False)(double) is double
assert not isinstance(torch.nn.Linear(1, 1), frames.OptimizedModule)
assert not hasattr(package, "__all__") and type(package) is Unread and "torch._dynamo.convert_frame" not in sys.modules

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
assert torch.compile(double, backend="eager", fullgraph=True)(torch.ones(2)).tolist() == [2, 2]
assert torch.compiler.disable(double) is not double
leave_compiler_unread()
assert torch._dynamo is package
"""


@pytest.mark.slow
def test_it_is_what_it_would_have_been_once_it_is_needed() -> None:
    done = subprocess.run([sys.executable, "-c", UNREAD], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
