"""Takes long to import, as a module does that loads a heavy library."""

import time

from fptkit import TaskSpec, hookimpl

time.sleep(0.6)


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="slow_task", summary="its module is slow", target="fptkit_slow:none")]
