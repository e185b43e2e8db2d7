"""The stages of a bundle in onnxruntime, chained by hand."""

import onnxruntime
from changed_bundle import document


class Graphs:
    def __init__(self, bundle):
        self.stages = {stage["name"]: stage for stage in document(bundle)["stages"]}
        self.sessions = {
            name: onnxruntime.InferenceSession(
                str(bundle / stage["file"]), providers=["CPUExecutionProvider"]
            )
            for name, stage in self.stages.items()
        }

    def run(self, name, feeds):
        """The stage's outputs by their names; it takes what it needs of `feeds`."""
        wanted = {key["name"] for key in self.stages[name]["inputs"]}
        made = self.sessions[name].run(None, {key: value for key, value in feeds.items() if key in wanted})
        return dict(zip([key["name"] for key in self.stages[name]["outputs"]], made, strict=True))

    def __call__(self, wave):
        """What all stages answer: of two outputs of one name that of the later stage."""
        feeds = {"waveform": wave}
        for name in self.stages:
            feeds |= self.run(name, feeds)
        return feeds
