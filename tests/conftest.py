"""After the tests: what the hard ones tried, and what survived."""

import sys


def pytest_terminal_summary(terminalreporter):
    survived = sys.modules.get("survived")
    found = survived.lines() if survived else []
    if found:
        terminalreporter.section("tried and survived")
        for line in found:
            terminalreporter.write_line(line)
