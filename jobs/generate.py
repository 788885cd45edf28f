"""Make a dataset: ``python -m jobs.generate [options]``, with ``-m hydra/launcher=submitit_slurm`` on a cluster.

The same command again finishes what is missing and nothing else. Exit code 0: every shard is done. 1: something is
left, and the summary says what. 2: the command line or the prompt file needs mending; nothing was written.
"""

import os
import sys


def main() -> None:
    """Run Hydra, and turn what a user can mend into one sentence and exit code 2."""
    # Here, because multiprocessing has every worker import this module, of which it needs nothing.
    import hydra
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from jobs.base.errors import BadInput, refuse
    from jobs.base.output import print_all
    from jobs.execute.command import run_command
    from jobs.options.compose import DEFAULTS, is_group_without_name
    from jobs.options.explain import explain
    from jobs.options.hydra_private import sort_arguments
    from jobs.options.places import CONF
    from jobs.options.table import help_text

    if {"--help", "-h"} & set(sys.argv[1:]):
        print_all(help_text())
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions come here instead of being printed by Hydra
    try:
        sort_arguments(refuse)
        hydra.main(config_path=str(CONF), config_name="generate", **DEFAULTS)(run_command)()
    except BadInput as error:
        refuse(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        refuse(explain(error))
    except ValueError as error:
        if not is_group_without_name(error):
            raise
        refuse(explain(error))
    except yaml.YAMLError as error:
        refuse(f"a configuration file is not valid YAML: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
