"""`course train --processes N`: the same command once for each GPU."""

from __future__ import annotations

import logging
import os
import sys


def start_processes(processes: int) -> int:
    """This same command in several processes, as torchrun starts them; the exit code of the first that fails, or 0.

    What went wrong the processes say themselves; torchrun's own report of it, a traceback, is left out.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if processes < 1:
        raise ValueError(f"--processes is {processes}; expected 1 or more, at most one per GPU")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    launch = LaunchConfig(1, 1, processes, run_id=str(os.getpid()), rdzv_backend="c10d", rdzv_endpoint="localhost:0",
                          max_restarts=0)
    logging.disable(logging.ERROR)
    try:
        elastic_launch(launch, sys.executable)("-m", "course_lib", *sys.argv[1:])
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode
        raise RuntimeError(
            f"process {number} of {processes} was killed by signal {-failure.exitcode}: if memory ran out, try half "
            "the --batch-size. --resume goes on from the last checkpoint, if there is one") from error
    except SignalException:
        raise KeyboardInterrupt from None
    finally:
        logging.disable(logging.NOTSET)
    return 0
