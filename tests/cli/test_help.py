from tests.processes import RunWgan
from wgan.cli import COMMANDS


def test_each_command_is_summed_up_in_a_whole_sentence(run_wgan: RunWgan) -> None:
    lines = run_wgan("--help").stdout.partition("Commands:")[2].strip().splitlines()
    assert len(lines) == len(COMMANDS)
    for line in lines:
        assert line.endswith("."), line
        assert not line.endswith("..."), line
