"""An adapter's head gives logits: probabilities are refused; windows are joined as the task asks."""

from dataclasses import replace

import pytest
from later import later
from tiny_model import tiny_adapter

from earmark.errors import SourceError

torch = later("torch")
nn = later("torch.nn")
from_adapter = later("earmark.export.sources.adapter.source", "from_adapter")


@pytest.fixture
def adapter():
    return replace(tiny_adapter(decoder=False), linear=None, network=None, pooling="other")


def test_a_head_that_gives_probabilities_is_refused(adapter):
    class Spelt(nn.Module):
        """A sigmoid that is no module of its own."""

        def __init__(self, head):
            super().__init__()
            self.head = head

        def forward(self, z):
            return 1 / (1 + torch.exp(-self.head(z)))

    for bent in (nn.Sequential(adapter.head, nn.Sigmoid()), nn.Sequential(adapter.head, nn.Softmax(1))):
        with pytest.raises(SourceError, match="head gives probabilities"):
            from_adapter(replace(adapter, head=bent), "mine")
    with pytest.raises(SourceError, match="head gives probabilities"):
        from_adapter(replace(adapter, head=Spelt(adapter.head)), "mine")
    with pytest.raises(SourceError, match="logarithms of probabilities"):
        from_adapter(
            replace(adapter, task="multi_label", head=nn.Sequential(adapter.head, nn.LogSoftmax(1))), "mine"
        )


@pytest.mark.parametrize(
    ("task", "chosen", "joined"),
    [
        ("single_label", None, "mean"),
        ("multi_label", None, "max"),
        ("multi_label", "mean", "mean"),
        ("single_label", "max", "max"),
    ],
)
def test_windows_are_joined_as_the_task_asks(adapter, task, chosen, joined):
    source = from_adapter(replace(adapter, task=task, aggregate=chosen), "mine")
    assert source.window.aggregate == joined
