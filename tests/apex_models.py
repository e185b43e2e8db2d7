"""PyTorch models that the tests of feature maps and heads explain."""

import torch
from torch import nn

CHANNELS, CLASSES = 16, 3


class Pooling(nn.Module):
    """Z [B, C, T', F'] -> v [B, C], or with attention of classes [B, K, C]."""

    def __init__(self, kind, attention=None):
        super().__init__()
        self.kind, self.attention = kind, attention

    def forward(self, z):
        if self.kind == "attention":
            weights = self.attention(z)
            return torch.einsum("btf,bctf->bc" if weights.dim() == 3 else "bktf,bctf->bkc", weights, z)
        frames = z.mean(dim=3)
        return frames.mean(dim=2) + (frames.amax(dim=2) if self.kind == "max_mean" else 0.0)


class Attention(nn.Module):
    """Softmax over the map of a 1x1 convolution; one map, or one a class."""

    def __init__(self, maps):
        super().__init__()
        self.score, self.maps = nn.Conv2d(CHANNELS, maps, 1), maps

    def forward(self, z):
        scores = 4.0 * self.score(z)
        weights = torch.softmax(scores.flatten(2), dim=2).reshape(scores.shape)
        return weights[:, 0] if self.maps == 1 else weights


class Chained(nn.Module):
    """pool, then a head; of attention of classes each class its own row."""

    def __init__(self, pool, head):
        super().__init__()
        self.pool, self.head = pool, head

    def forward(self, z):
        made = self.head(self.pool(z))
        return made if made.dim() == 2 else made.diagonal(dim1=1, dim2=2)


def network(activation):
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(CHANNELS, 12), activation, nn.Dropout(0.3), nn.Linear(12, CLASSES))


class Patches(nn.Module):
    """A small transformer over 4 x 8 patches of log-bands [B, T, 40]; tokens [B, 1 + N, 16]."""

    def __init__(self, order="frequency"):
        super().__init__()
        torch.manual_seed(11)
        self.order = order
        self.patch = nn.Conv2d(1, CHANNELS, (4, 8), (4, 8))
        layer = nn.TransformerEncoderLayer(CHANNELS, 4, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.first = nn.Parameter(torch.randn(1, 1, CHANNELS))

    def forward(self, features):
        x = self.patch(features.unsqueeze(1))
        x = (x.transpose(2, 3) if self.order == "frequency" else x).flatten(2).transpose(1, 2)
        return self.body(torch.cat((self.first.expand(len(x), -1, -1), x), dim=1))


class TokenHead(nn.Module):
    """The mean over the placed tokens, or the class token, then a linear head."""

    def __init__(self, linear, from_class):
        super().__init__()
        self.linear, self.from_class = linear, from_class

    def forward(self, tokens):
        return self.linear(tokens[:, 0] if self.from_class else tokens[:, 1:].mean(dim=1))


class AttentionOfClasses(nn.Module):
    """Z [B, C, T', F'] -> weights of each of three classes, of sum 1."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.score = nn.Conv2d(16, 3, 1)

    def forward(self, z):
        scores = 3.0 * self.score(z)
        return torch.softmax(scores.flatten(2), dim=2).reshape(scores.shape)


class Attended(nn.Module):
    """Every class judges by what it attends to."""

    def __init__(self, attention, linear):
        super().__init__()
        self.attention, self.linear = attention, linear

    def forward(self, z):
        pooled = torch.einsum("bktf,bctf->bkc", self.attention(z), z)
        return (pooled * self.linear.weight).sum(dim=2) + self.linear.bias


class Listening(nn.Module):
    """Waveform [B, N] -> logits [B, 2] from a map [B, 6, rows, T] (or [B, T, 6] with one row)."""

    def __init__(self, rows, pooling):
        super().__init__()
        torch.manual_seed(0)
        self.rows, self.pooling = rows, pooling
        self.filters = nn.Conv1d(1, 6 * rows, 64, 40)
        self.head = nn.Linear(6, 2)

    def forward(self, wave):
        x = torch.relu(self.filters(wave.unsqueeze(1)))
        if self.rows == 1:
            shown = x.transpose(1, 2) * 1.5
            return self.head(shown.mean(dim=1))
        shown = x.reshape(x.shape[0], 6, self.rows, -1) * 1.5
        frames = shown.mean(dim=2)
        pooled = frames.mean(dim=2) + (frames.amax(dim=2) if self.pooling == "max_mean" else 0.0)
        return self.head(pooled if self.pooling != "square" else pooled.square())
