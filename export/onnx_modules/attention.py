"""Attention, as ONNX has it and as ONNX Runtime's optimiser fuses it."""

from __future__ import annotations

import torch

from .operators import Call, Tensor, UnsupportedError, beside, operator
from .quantised import real_of

_MICROSOFT = "com.microsoft"
# What ONNX Runtime adds where a mask hides a token.
_HIDDEN = -10000.0


def _attended(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float | None, added: Tensor | None, softcap: float = 0.0
) -> Tensor:
    """softmax(scale q k^T + added) v of [B, heads, N, D]; scale: 1 / sqrt(D) where it is None."""
    scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if added is not None:
        scores = torch.add(*beside(scores, added))
    return torch.softmax(scores, dim=-1) @ v


def _causal(queries: int, keys: int, like: Tensor, hidden: float = float("-inf")) -> Tensor:
    """What is added so that no query sees a key behind it, the last query being at the last key."""
    return torch.full((queries, keys), hidden, dtype=like.dtype, device=like.device).triu(1 + keys - queries)


def _heads(x: Tensor, count: int) -> Tensor:
    """[B, N, heads D] -> [B, heads, N, D]."""
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """[B, heads, N, D] -> [B, N, heads D]."""
    return x.transpose(1, 2).flatten(2)


@operator("Attention")
def attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Attention of [B, heads, N, D] or [B, N, heads D], with as many or fewer heads of keys, and a past."""
    windows = [call.integer(f"{side}_window_size", -1) for side in ("left", "right")]
    if call.outputs > 3 or windows != [-1, -1]:
        raise UnsupportedError("with its scores as an output, or within windows")
    flat = q.dim() == 3
    if flat:
        counts = call.integer("q_num_heads", 1), call.integer("kv_num_heads", 1)
        q, k, v = _heads(q, counts[0]), _heads(k, counts[1]), _heads(v, counts[1])
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], dim=2), torch.cat([past_value, v], dim=2)
    times = q.shape[1] // k.shape[1]
    added = _added(mask, q)
    if call.integer("is_causal", 0):
        causal = _causal(q.shape[2], k.shape[2], q)
        added = causal if added is None else added + causal
    attended = _attended(
        q,
        k.repeat_interleave(times, 1),
        v.repeat_interleave(times, 1),
        scale=call.attributes.get("scale"),
        added=added,
        softcap=call.number("softcap", 0.0),
    )
    return _joined(attended) if flat else attended, k, v


def _added(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask as what is added to scores: true ones are those that are seen."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill(~mask, float("-inf"))


@operator("Attention", domain=_MICROSOFT)
def fused_attention(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    added: Tensor | None = None,
) -> Tensor:
    """Self-attention of [B, N, D] with its three products in one, as the optimiser fuses BERT's."""
    if past is not None or call.outputs > 1 or call.integer("do_rotary", 0):
        raise UnsupportedError("with a past or rotary embeddings")
    heads = call.integer("num_heads", 1)
    product = x @ weight
    product = product if bias is None else product + bias
    sizes = call.integers("qkv_hidden_sizes", [product.shape[-1] // 3] * 3)
    q, k, v = (_heads(one, heads) for one in torch.split(product, sizes, dim=-1))
    return _joined(_masked(call, q, k, v, mask, added))


@operator("QAttention", domain=_MICROSOFT)
def quantised_attention(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x_scale: Tensor,
    weight_scale: Tensor,
    mask: Tensor | None = None,
    x_zero: Tensor | None = None,
    weight_zero: Tensor | None = None,
    past: Tensor | None = None,
) -> Tensor:
    """The same of whole numbers; its bias and what it gives are real."""
    real = real_of(weight, weight_scale, weight_zero, 1)
    return fused_attention(call, real_of(x, x_scale, x_zero), real, bias, mask, past)


@operator("MultiHeadAttention", domain=_MICROSOFT)
def multi_head_attention(
    call: Call,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    added: Tensor | None = None,
    *past: Tensor | None,
) -> Tensor:
    """Attention of products that are computed before, of [B, N, heads D]; keys may be [B, heads, N, D]."""
    heads = call.integer("num_heads", 1)
    if any(one is not None for one in past) or call.outputs > 1:
        raise UnsupportedError("with a past")
    if key is None or value is None:
        raise UnsupportedError("of packed keys")
    q = _heads(query, heads)
    k, v = (one if one.dim() == 4 else _heads(one, heads) for one in (key, value))
    if bias is not None:
        widths = [heads * one.shape[-1] for one in (q, k, v)]
        parts = [one.reshape(heads, 1, -1) for one in torch.split(bias, widths)]
        q, k, v = q + parts[0], k + parts[1], v + parts[2]
    return _joined(_masked(call, q, k, v, mask, added))


def _masked(call: Call, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, added: Tensor | None) -> Tensor:
    """Attention with the masks of ONNX Runtime's operators."""
    queries, keys = q.shape[2], k.shape[2]
    hidden = call.number("mask_filter_value", _HIDDEN)
    if mask is not None:
        unseen = ~_seen(mask.to(q.device), q.shape[0], keys)
        hiding = torch.zeros(unseen.shape, dtype=q.dtype, device=q.device).masked_fill(unseen, hidden)
        added = hiding if added is None else added + hiding
    if call.integer("unidirectional", 0):
        causal = _causal(queries, keys, q)
        added = causal if added is None else added + causal
    return _attended(q, k, v, scale=call.attributes.get("scale") or None, added=added)


def _seen(mask: Tensor, batch: int, keys: int) -> Tensor:
    """Which keys are seen, [B, 1, 1 or N, keys]: by lengths [B], ends and starts [2 B], or one by one."""
    places = torch.arange(keys, device=mask.device)
    if mask.dim() == 1 and mask.shape[0] in {batch, 2 * batch}:
        ends = mask[:batch, None]
        starts = mask[batch:, None] if mask.shape[0] > batch else torch.zeros_like(ends)
        return ((places >= starts) & (places < ends))[:, None, None]
    if mask.dim() == 2:
        return (mask > 0)[:, None, None]
    if mask.dim() == 3:
        return (mask > 0)[:, None]
    raise UnsupportedError("with a mask of this kind")


@operator("RotaryEmbedding")
def rotary(call: Call, x: Tensor, cosine: Tensor, sine: Tensor, places: Tensor | None = None) -> Tensor:
    """Pairs of values turned by the angles of their places, of [B, heads, N, D] or [B, N, heads D]."""
    flat = x.dim() == 3
    turned = _heads(x, call.integer("num_heads", 1)) if flat else x
    if places is not None:
        cosine, sine = cosine[places], sine[places]
    cosine, sine = cosine[:, None], sine[:, None]
    size = call.integer("rotary_embedding_dim", 0) or turned.shape[-1]
    cosine, sine = cosine[..., : size // 2], sine[..., : size // 2]
    part, rest = torch.split(turned, [size, turned.shape[-1] - size], dim=-1)
    pairs = bool(call.integer("interleaved", 0))
    one, other = part.reshape(*part.shape[:-1], -1, 2).unbind(-1) if pairs else part.chunk(2, dim=-1)
    both = [one * cosine - other * sine, one * sine + other * cosine]
    joined = torch.stack(both, dim=-1).flatten(-2) if pairs else torch.cat(both, dim=-1)
    whole = torch.cat([joined, rest], dim=-1)
    return _joined(whole) if flat else whole


@operator("RotaryEmbedding", domain=_MICROSOFT)
def fused_rotary(call: Call, x: Tensor, places: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The same as ONNX Runtime has it: places [B, N], or [1], that of the first token."""
    if call.number("scale", 1.0) != 1.0 or call.integer("is_packed_batching", 0):
        raise UnsupportedError("with scale or packed batches")
    count = x.shape[2] if x.dim() == 4 else x.shape[1]
    if places.numel() == 1:
        places = (places.reshape(1, 1) + torch.arange(count)).expand(x.shape[0], count)
    if x.dim() == 3 and "num_heads" not in call.attributes:
        size = call.integer("rotary_embedding_dim", 0) or 2 * cosine.shape[-1]
        turned = _heads(x, x.shape[-1] // size)
        return _joined(rotary(call, turned, cosine, sine, places))
    return rotary(call, x, cosine, sine, places)
