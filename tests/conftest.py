"""Which tests `make quick` leaves out; after the tests, what the hard ones tried and what survived."""

import sys

import pytest

# Files whose tests train networks, start kernels, browsers or many processes, or load TensorFlow.
SLOW = """
    test_ablation test_bad_input test_batch test_controls test_deidentify test_diagnosis
    test_engine test_engines test_environment_check test_evaluation_cli test_explorer
    test_explorer_in_browser test_faults test_fuzz test_idc test_improvements test_latent
    test_memoriser test_memorization test_n_sweep test_networks test_page
    test_page_in_browser test_privacy test_radiogan test_report_in_browser test_running
    test_scale test_site test_training test_training_benchmark test_turning test_utility
    test_walks
""".split()


def pytest_ignore_collect(collection_path, config):
    """Files of which nothing would run are not even imported."""
    if config.option.markexpr == "not slow" and collection_path.stem in SLOW:
        return True
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter):
    survived = sys.modules.get("survived")
    found = survived.lines() if survived else []
    if found:
        terminalreporter.section("tried and survived")
        for line in found:
            terminalreporter.write_line(line)
