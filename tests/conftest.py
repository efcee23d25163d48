"""Which tests `make quick` leaves out; what the hard ones tried and what survived."""

import sys

import pytest

# Files whose tests train networks, start kernels, browsers or many processes, or load TensorFlow.
# The longest come first: two processes that take the files in this order end together.
SLOW = """
    test_training test_engines test_running test_training_benchmark test_explorer_in_browser
    test_controls test_page_in_browser test_bad_input test_utility test_batch test_scale test_faults
    test_evaluation_cli test_memoriser
    test_ablation test_claims test_deidentify test_diagnosis test_engine test_environment_check
    test_explorer test_fuzz test_idc test_improvements test_latent test_memorization test_n_sweep
    test_networks test_page test_privacy test_radiogan test_report_in_browser test_site test_turning
    test_walks
""".split()


def pytest_ignore_collect(collection_path, config):
    """Files of which nothing would run are not even imported."""
    left_out = config.option.markexpr == "not slow" and collection_path.stem in SLOW
    return True if left_out else None


def pytest_collection_modifyitems(items):
    """Mark the slow tests; they run first, then the notebooks, then what takes no time."""

    def place(item) -> int:
        if item.path.stem in SLOW:
            return SLOW.index(item.path.stem)
        return len(SLOW) + (item.path.suffix != ".ipynb")

    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)
    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """A process of pytest-xdist hands its tables to the one that prints."""
    survived, output = sys.modules.get("survived"), getattr(session.config, "workeroutput", None)
    if survived and output is not None:
        output["survived"] = survived.packed()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    packed = getattr(node, "workeroutput", {}).get("survived")
    if packed:
        import survived

        survived.unpack(packed)


def pytest_terminal_summary(terminalreporter):
    survived = sys.modules.get("survived")
    found = survived.lines() if survived else []
    if found:
        terminalreporter.section("tried and survived")
        for line in found:
            terminalreporter.write_line(line)
