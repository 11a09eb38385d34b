import torch
from seqcls_mean_max.encoder import MeanMax

from seqcls.testing import check_encoder


def test_the_encoder_keeps_its_contract() -> None:
    check_encoder(MeanMax)
    check_encoder(MeanMax, options={"hidden_size": 3})


def test_an_open_gate_gives_the_mean_and_a_closed_one_the_maximum() -> None:
    encoder = MeanMax(2, hidden_size=2)
    torch.nn.init.eye_(encoder.layer.weight)
    torch.nn.init.zeros_(encoder.layer.bias)
    x, lengths = torch.tensor([[[1.0, 5.0], [3.0, 1.0], [99.0, 99.0]]]), torch.tensor([2])
    torch.nn.init.constant_(encoder.gate, 100.0)
    assert encoder(x, lengths).tolist() == [[2.0, 3.0]]
    torch.nn.init.constant_(encoder.gate, -100.0)
    assert encoder(x, lengths).tolist() == [[3.0, 5.0]]
