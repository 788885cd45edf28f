"""What diffusers does not offer openly: the parts that ``enable_parallelism`` puts together by itself.

That method asks how many accelerators the machine has, and so divides by zero on a CPU; and the plan of a model that
diffusers has none for is written in these classes.
"""

from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput, ParallelConfig

__all__ = ["ContextParallelInput", "ContextParallelOutput", "ParallelConfig"]
