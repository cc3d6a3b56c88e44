"""What prepare may be asked for."""

import pytest

from pipeline.dataset.config import PrepareConfig
from pipeline.errors import ConfigError


@pytest.mark.parametrize("wrong", [{"max_nodes": 0}, {"max_edges": -1}, {"processes": -1}, {"split_seed": -1}])
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="max_nodes must be at least 1; max_edges, processes and split_seed"):
        PrepareConfig(**wrong)


def test_the_smallest_numbers_are_fine():
    config = PrepareConfig(max_nodes=1, max_edges=0, processes=0, split_seed=0)
    assert (config.data, config.on_error, config.share_rows) == ("solubility", "skip", True)
