"""Matrix products whose rows do not depend on how many rows there are.

Knows weights and rows; nothing of attention, tokens or candles. A product of few rows takes other
kernels than one of many, which round differently. `row_quantum` finds how many rows are enough for
the kernel of many, `pad_rows` fills up to a multiple of that number.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEADING_PAD = 16  # elements: keeps weight rows off one another's cache sets
BLOCK = 64  # output columns of a block where few rows are multiplied
FEW_ROWS = 128  # up to here blocks of columns are faster than one whole product
ROW_QUANTUM = 4  # rows: the smallest quantum that is tried
MANY_ROWS = 512  # a product of so many rows is what smaller ones are compared with
QUANTA_TRIED = (1, 2, 3, 5, 8, 17, 25, 40)  # numbers of quanta in the smaller products


def frozen(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy that no later change of `weight` reaches."""
    return weight.detach().to(dtype, copy=True)


class Operand:
    """A linear layer's weight as the right operand of a matrix product, for many rows or few.

    On a CPU few rows are multiplied block by block of columns, each block laid out in one piece,
    which spares packing the whole weight for them and reads memory in order; each element is the
    same sum in the same order either way. The price is a second copy of the weight.

    weight: `[in, out]`, the transpose of a linear layer's. blocks: `[out / BLOCK, in, BLOCK]`, or
    None where whole products are always used.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.out_features, self.in_features = out, inner = weight.shape
        if dtype == torch.float32:
            buffer = weight.new_zeros(inner, out + LEADING_PAD)
            self.weight = buffer[:, :out]
            self.weight.copy_(weight.T)
        else:  # narrow types' products on a CPU want the weight's own layout
            self.weight = weight.to(dtype).clone().T
        self.blocks = None
        if out % BLOCK == 0 and weight.device.type == "cpu" and dtype == torch.float32:
            self.blocks = self.weight.unflatten(1, (-1, BLOCK)).transpose(0, 1).contiguous()
        self.bias = weight.new_zeros(out, dtype=dtype) if bias is None else frozen(bias, dtype)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """`x [n, in]` → `x @ weight + residual` `[n, out]`; the bias where residual is None."""
        rows = x.shape[0]
        if self.blocks is None or rows > FEW_ROWS:
            return torch.addmm(self.bias if residual is None else residual, x, self.weight)
        count = self.blocks.shape[0]
        if residual is None:
            start = self.bias.view(count, 1, BLOCK)
        else:
            start = residual.view(rows, count, BLOCK).transpose(0, 1)
        out = torch.baddbmm(start, x.expand(count, *x.shape), self.blocks)  # [blocks, n, BLOCK]
        return out.transpose(0, 1).reshape(rows, self.out_features)


def pad_rows(x: Tensor, quantum: int) -> Tensor:
    """`[n, d]` with zero rows added up to a multiple of `quantum`."""
    missing = -x.shape[0] % quantum
    return F.pad(x, (0, 0, 0, missing)) if missing else x


def row_quantum(operands: Iterable[Operand | nn.Linear]) -> int | None:
    """How many rows a product must be a multiple of for its rows not to depend on how many.

    Tried with these operands, one of each size, on their device and with this number of threads;
    None where no small number is enough.
    """
    tried = of_each_size(operands)
    for quantum in (ROW_QUANTUM, 2 * ROW_QUANTUM, 4 * ROW_QUANTUM, 8 * ROW_QUANTUM):
        if all(_rows_agree(operand, quantum) for operand in tried):
            return quantum
    return None


def of_each_size(operands: Iterable[Operand | nn.Linear]) -> list[Operand | nn.Linear]:
    by_size = {(type(op), op.in_features, op.out_features, op.weight.dtype): op for op in operands}
    return list(by_size.values())


def products(operand: Operand | nn.Linear, quantum: int = ROW_QUANTUM) -> list[Tensor]:
    """Products `[n, out]` of the same random rows: of many, and of the first few quanta of them."""
    generator = torch.Generator("cpu").manual_seed(0)
    size = MANY_ROWS, operand.in_features
    x = torch.randn(size, generator=generator, dtype=torch.float32, device="cpu")
    x = x.to(operand.weight.device, operand.weight.dtype)
    return [operand(x[:n]) for n in (MANY_ROWS, *(quantum * i for i in QUANTA_TRIED))]


def _rows_agree(operand: Operand | nn.Linear, quantum: int) -> bool:
    """Whether products of some multiples of `quantum` rows equal those rows of a large product."""
    whole, *smaller = products(operand, quantum)
    return all(torch.equal(some, whole[: len(some)]) for some in smaller)
