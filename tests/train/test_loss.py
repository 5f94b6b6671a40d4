"""The loss and its gradients: one process on the whole batch is the truth, any number of ranks must agree."""

from __future__ import annotations

import socket
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from hbt_ray.train.loss import NO_PASSAGE, info_nce

NEGATIVES = (0, 2)
ROWS, WIDTH, INPUTS = 8, 5, 7


def batch(negatives: int) -> dict[str, torch.Tensor]:
    """A global batch in fp64 with what makes masks: translations, a repeated passage, a missing negative."""
    generator = torch.Generator().manual_seed(3)
    groups = torch.tensor([0, 1, 2, 1, 4, 5, 6, 7])
    keys = torch.tensor([10, 11, 12, 13, 14, 15, 15, 17])
    negative_keys = torch.arange(100, 100 + ROWS * negatives).view(negatives, ROWS)
    if negatives:
        negative_keys[0, 2] = NO_PASSAGE
        negative_keys[0, 3] = 10  # the positive of row 0, as a hard negative of row 3
    return {
        "queries": torch.randn(ROWS, INPUTS, dtype=torch.float64, generator=generator),
        "passages": torch.randn(1 + negatives, ROWS, INPUTS, dtype=torch.float64, generator=generator),
        "groups": groups,
        "keys": torch.cat([keys[None], negative_keys]),
    }


def gradient(negatives: int, rank: int, ranks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and weight gradient of one rank's slice."""
    whole = batch(negatives)
    weight = torch.randn(
        INPUTS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    mine = slice(rank * ROWS // ranks, (rank + 1) * ROWS // ranks)
    queries = functional.normalize(whole["queries"][mine] @ weight, dim=-1)
    passages = functional.normalize(whole["passages"][:, mine].reshape(-1, INPUTS) @ weight, dim=-1)
    loss, _ = info_nce(queries, passages, whole["groups"][mine], whole["keys"][:, mine].reshape(-1), 0.1)
    loss.backward()
    assert weight.grad is not None
    return loss.detach(), weight.grad


def one_rank(rank: int, ranks: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    for negatives in NEGATIVES:
        loss, grad = gradient(negatives, rank, ranks)
        for tensor in (loss, grad):  # as data-parallel training averages
            dist.all_reduce(tensor)
            tensor /= ranks
        torch.save((loss, grad), Path(folder) / f"{negatives}-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("ranks", [2, 4])
def test_gradients_equal_one_process_on_the_whole_batch(tmp_path: Path, ranks: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(one_rank, (ranks, port, str(tmp_path)), nprocs=ranks)
    for negatives, rank in product(NEGATIVES, range(ranks)):
        expected_loss, expected = gradient(negatives, 0, 1)
        loss, grad = torch.load(tmp_path / f"{negatives}-{rank}.pt")
        assert torch.linalg.norm(grad - expected) / torch.linalg.norm(expected) < 1e-9
        assert abs(loss - expected_loss) < 1e-9


def test_loss_is_the_formula_with_false_negatives_left_out() -> None:
    whole = batch(0)
    weight = torch.randn(INPUTS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    queries = functional.normalize(whole["queries"] @ weight, dim=-1)
    passages = functional.normalize(whole["passages"][0] @ weight, dim=-1)
    scores = (queries @ passages.T / 0.1).exp()
    total = 0.0
    for row in range(ROWS):
        others = [
            column
            for column in range(ROWS)
            if column != row and {row, column} not in ({1, 3}, {5, 6})  # translations; the same passage
        ]
        total -= torch.log(scores[row, row] / (scores[row, row] + scores[row, others].sum())).item()
    loss, groups = info_nce(queries, passages, whole["groups"], whole["keys"].view(-1), 0.1)
    assert loss.item() == pytest.approx(total / ROWS, abs=1e-12)
    assert groups.tolist() == whole["groups"].tolist()


def test_logits_are_fp32_for_half_precision_vectors() -> None:
    whole = batch(0)
    queries = functional.normalize(whole["queries"], dim=-1).bfloat16()
    passages = functional.normalize(whole["passages"][0], dim=-1).bfloat16()
    loss, _ = info_nce(queries, passages, whole["groups"], whole["keys"].view(-1), 0.02)
    exact, _ = info_nce(queries.double(), passages.double(), whole["groups"], whole["keys"].view(-1), 0.02)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), abs=1e-5)


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_blocks_of_rows_change_nothing(negatives: int) -> None:
    whole = batch(negatives)
    found = []
    for block_scores in (10**6, 1, 3 * ROWS * (1 + negatives)):
        queries = functional.normalize(whole["queries"][:, :WIDTH], dim=-1).requires_grad_()
        passages = functional.normalize(whole["passages"].reshape(-1, INPUTS)[:, :WIDTH], dim=-1).requires_grad_()
        loss, _ = info_nce(queries, passages, whole["groups"], whole["keys"].view(-1), 0.1, block_scores)
        loss.backward()
        assert queries.grad is not None and passages.grad is not None
        found.append((loss.detach(), queries.grad, passages.grad))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert torch.allclose(one, two, atol=1e-12)
