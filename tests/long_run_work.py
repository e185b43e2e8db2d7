"""Work of a run that stands for reading sound: a task says by its name what happens to its process."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from earmark.errors import DeviceError


@dataclass(frozen=True)
class Named:
    """Opens unless `refuse`; leaves a file in `folder` for each try of a task."""

    folder: Path
    refuse: bool = False
    die: bool = False

    def open(self):
        if self.refuse:
            raise DeviceError("the device is not there")
        if self.die:
            os._exit(7)
        return self.do

    def do(self, task, beat):
        tries = len(list(self.folder.glob(f"{task}.*")))
        (self.folder / f"{task}.{tries}").touch()
        if "segfault" in task or ("once" in task and tries == 0):
            os.kill(os.getpid(), signal.SIGSEGV)
        if "exit" in task:
            os._exit(3)
        if "hang" in task:
            beat(1.0)
            time.sleep(60)
        if "slow" in task:
            for step in range(4):
                beat(step + 1.0)
                time.sleep(0.3)
        return f"{task} done in {os.getpid()} by {os.environ['EARMARK_THREADS']}"
