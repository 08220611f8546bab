"""What a student says of a few tokens of its vocabulary, the vocabulary never whole in memory.

The head's scores are computed in tiles of tokens x vocabulary. Of each tile two things are kept:
the scores of the tokens asked for, and, running, the logsumexp of all others ("rest"). Every
objective of train.objectives is a function of these alone, and so is its gradient: on a token
asked for it is what autograd says, on any other token j it is dL/drest * exp(z_j - rest). The
backward pass computes each tile again (the first ones are kept while there is room), turns it
into its gradient in place and multiplies it out. Sums are in fp32, in fp64 for fp64 inputs.

Tiling a head's loss is Cut Cross-Entropy, Wijmans et al., 2024, arXiv:2411.09009; the support
beside the rest is ours.

    scores = support_scores(hidden, Head(weight), ids)      # ids [N, M], -1 where there is none
    scores.chosen, scores.rest                              # [N, M] and [N], differentiable

Shapes: N positions, H width of the model, V vocabulary, M tokens asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MARGIN = 16  # spare columns of a tile: what is outside it is read and written there, and forgotten
HALF = (torch.float16, torch.bfloat16)


class Head(NamedTuple):
    """A language model's last layer: cap * tanh(scale * (hidden @ weight.T + bias) / cap)."""

    weight: Tensor  # [V, H]
    bias: Tensor | None = None  # [V]
    scale: float = 1.0
    softcap: float | None = None


class Scores(NamedTuple):
    """Scores of the tokens asked for, and what all others come to."""

    chosen: Tensor  # [N, M]; the lowest finite number where no token was asked for
    rest: Tensor  # [N] logsumexp of all others; near the lowest number where none is left
    highest: Tensor  # [N] the greatest score among those others, without gradient


class Tiles(NamedTuple):
    """How much is computed at once; the result does not depend on it."""

    tokens: int = 1024
    vocabulary: int = 4096
    keep: int = 64 * 2**20
    """Bytes of scores kept between the passes, so that a small batch is not computed twice."""


CPU, GPU = Tiles(), Tiles(4096, 16384)  # on a GPU starting a kernel costs more than a cache miss


def support_scores(hidden: Tensor, head: Head, ids: Tensor, tiles: Tiles | None = None) -> Scores:
    """Scores of distinct tokens `ids` [N, M] after `hidden` [N, H], and of all others together."""
    tiles = tiles or (CPU if hidden.device.type == "cpu" else GPU)
    if not torch.is_grad_enabled():
        tiles = tiles._replace(keep=0)
    shape = head.scale, head.softcap, tiles
    found = _SupportScores.apply(hidden, head.weight, head.bias, ids, *shape)  # type: ignore[no-untyped-call]
    return Scores(*found)


class _SupportScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        scale: float,
        softcap: float | None,
        tiles: Tiles,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.dtype = _operand_dtype(hidden, weight)
        ctx.shape = scale, softcap, tiles
        work = _Work(hidden, weight, bias, ctx.dtype, *ctx.shape)
        with torch.autocast(hidden.device.type, enabled=False):
            chosen, highest, total, ctx.kept = work.read(ids)
        ctx.save_for_backward(hidden, weight, bias, ids, highest, total)
        ctx.mark_non_differentiable(highest)
        return chosen, highest + total.log(), highest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_chosen: Tensor, to_rest: Tensor, _: Tensor) -> tuple[Any, ...]:
        hidden, weight, bias, ids, highest, total = ctx.saved_tensors
        to_share = to_rest / total  # not via rest: exp(z - rest) would lose the digits of a large z
        work = _Work(hidden, weight, bias, ctx.dtype, *ctx.shape)
        sums = [
            each.new_zeros(each.shape, dtype=work.exact) if needed else None
            for each, needed in zip((hidden, weight, bias), ctx.needs_input_grad, strict=False)
        ]
        with torch.autocast(hidden.device.type, enabled=False):
            for number, place in enumerate(work.places()):
                tile = work.scores(place, ctx.kept[number] if number < len(ctx.kept) else None)
                work.to_gradient(tile, place, ids, highest, to_chosen, to_share)
                work.multiply_out(tile[:, : place.width], place, *sums)
        grads = [
            found if found is None else found.to(each.dtype)
            for found, each in zip(sums, (hidden, weight, bias), strict=True)
        ]
        return (*grads, None, None, None, None)


class _Place(NamedTuple):
    """One tile's rows and columns among the N x V scores."""

    rows: slice
    start: int
    end: int

    @property
    def width(self) -> int:
        return self.end - self.start

    @property
    def columns(self) -> slice:
        return slice(self.start, self.end)

    def locate(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The column of each id in the tile, and whether it is in it; else the margin's first."""
        local = ids[self.rows] - self.start
        inside = local.ge(0) & local.lt(self.width)
        return torch.where(inside, local, self.width), inside


class _Work:
    """The operands, and one tile's worth of memory."""

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        scale: float,
        softcap: float | None,
        tiles: Tiles,
    ) -> None:
        self.exact = torch.float64 if dtype == torch.float64 else torch.float32
        self.dtype = dtype
        # CUDA multiplies half precision into fp32 itself; elsewhere the operands are widened
        self.operand = dtype if hidden.is_cuda and dtype in HALF else self.exact
        self.hidden, self.weight, self.bias = self._operand(hidden), weight, bias
        self.scale, self.softcap, self.tiles = scale, softcap, tiles
        height, width = min(len(hidden), tiles.tokens), min(len(weight), tiles.vocabulary)
        self.buffer = hidden.new_empty((height, width + MARGIN), dtype=self.exact)

    def _operand(self, values: Tensor) -> Tensor:
        return values.to(self.dtype).to(self.operand)

    def places(self) -> Iterator[_Place]:
        for start in range(0, len(self.weight), self.tiles.vocabulary):
            end = min(start + self.tiles.vocabulary, len(self.weight))
            for first in range(0, len(self.hidden), self.tiles.tokens):
                last = min(first + self.tiles.tokens, len(self.hidden))
                yield _Place(slice(first, last), start, end)

    def scores(self, place: _Place, kept: Tensor | None = None) -> Tensor:
        """The tile [n, width + MARGIN] at a place, overwriting the one before."""
        hidden = self.hidden[place.rows]
        tile = self.buffer[: len(hidden), : place.width + MARGIN]
        scored = tile[:, : place.width]
        if kept is not None:
            scored.copy_(kept)
            return tile
        weight = self._operand(self.weight[place.columns]).t()
        if self.operand in HALF:
            torch.mm(hidden, weight, out_dtype=self.exact, out=scored)
        else:
            torch.mm(hidden, weight, out=scored)
        if self.bias is not None:
            scored.add_(self.bias[place.columns].to(self.exact))
        if self.softcap is not None:
            scored.mul_(self.scale / self.softcap).tanh_().mul_(self.softcap)
        elif self.scale != 1:
            scored.mul_(self.scale)
        return tile

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Scores of the ids; of the rest the greatest, and the sum relative to it; first tiles."""
        lowest = torch.finfo(self.exact).min  # not -inf: a support that is all of V stays finite
        chosen = self.buffer.new_full(ids.shape, lowest)
        highest = self.buffer.new_full(ids.shape[:1], lowest)
        total = torch.zeros_like(highest)
        kept: list[Tensor] = []
        room = self.tiles.keep
        for place in self.places():
            tile, rows = self.scores(place), place.rows
            scored = tile[:, : place.width]
            room -= scored.numel() * scored.element_size()
            if room >= 0:
                kept.append(scored.clone())
            columns, inside = place.locate(ids)
            chosen[rows] = torch.where(inside, tile.gather(1, columns), chosen[rows])
            tile.scatter_(1, columns, lowest)
            top = torch.maximum(highest[rows], scored.amax(-1))
            total[rows] *= torch.exp(highest[rows] - top)
            total[rows] += scored.sub_(top[:, None]).exp_().sum(-1)
            highest[rows] = top
        return chosen, highest, total, kept

    def to_gradient(
        self,
        tile: Tensor,
        place: _Place,
        ids: Tensor,
        highest: Tensor,
        to_chosen: Tensor,
        to_share: Tensor,
    ) -> None:
        """Turn a tile of scores into the gradient of what came before scale and softcap."""
        rows, scored = place.rows, tile[:, : place.width]
        slope = None if self.softcap is None else 1 - (scored / self.softcap).square_()
        scored.sub_(highest[rows, None]).exp_().mul_(to_share[rows, None])
        columns, _ = place.locate(ids)
        tile.scatter_(1, columns, 0.0).scatter_add_(1, columns, to_chosen[rows])
        if slope is not None:
            scored.mul_(slope)
        if self.scale != 1:
            scored.mul_(self.scale)

    def multiply_out(
        self,
        tile: Tensor,
        place: _Place,
        to_hidden: Tensor | None,
        to_weight: Tensor | None,
        to_bias: Tensor | None,
    ) -> None:
        """Add what this tile's gradient says of the operands."""
        if to_bias is not None:
            to_bias[place.columns] += tile.sum(0)
        factor = tile.to(self.operand)
        if to_hidden is not None:
            weight = self._operand(self.weight[place.columns])
            _add_product(to_hidden[place.rows], factor, weight)
        if to_weight is not None:
            _add_product(to_weight[place.columns], factor.t(), self.hidden[place.rows])


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right; a sum of products rounded to bf16 first would drift."""
    if left.dtype in HALF:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(left, right)


def _operand_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """What the model itself would multiply in."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return torch.promote_types(hidden.dtype, weight.dtype)
