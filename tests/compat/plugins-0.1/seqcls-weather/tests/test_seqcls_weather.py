from seqcls_weather import Weather

from seqcls.testing import check_dataset


def test_the_data_set_keeps_its_contract() -> None:
    check_dataset(Weather())
    check_dataset(Weather(days=10))
