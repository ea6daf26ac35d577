from fptkit import ListenerSpec, hookimpl
from fptkit.engine.events import Validated


class BestFile:
    def __init__(self, options, *, folder):
        self.file = folder / "best.txt"

    def handle(self, event):
        if isinstance(event, Validated) and event.best:
            self.file.write_text(f"{event.step} {dict(event.metrics)}")


@hookimpl
def fptkit_listeners():
    return [ListenerSpec(name="best_file", summary="keeps the best figures in best.txt", target=BestFile)]
