from seqcls_my_encoder import MyEncoder

from seqcls.testing import check_encoder


def test_the_encoder_keeps_its_contract() -> None:
    check_encoder(MyEncoder)
    check_encoder(MyEncoder, options={"hidden_size": 3})
