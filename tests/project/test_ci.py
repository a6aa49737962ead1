"""CI runs once more what failed: a flaky test is named, a second failure and everything else fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import ROOT

PASSES = "def test_passes():\n    pass\n"
FAILS = "def test_fails():\n    raise AssertionError('always')\n"

FLAKY = """
import pathlib

def test_flaky():
    once = pathlib.Path("failed-once")
    if not once.exists():
        once.touch()
        raise AssertionError("the first time")
"""

CRASHES = "import os\n\ndef test_crashes():\n    os._exit(70)\n"

HANGS = """
import time
import pytest

@pytest.mark.timeout(0.5)
def test_hangs():
    time.sleep(60)
"""

BROKEN = "import no_such_module\n"


def ci(folder: Path, *tests: str, command: str = "pytest") -> tuple[int, str]:
    """The exit status and the output of CI's tests in a throw-away project with such tests."""
    for number, text in enumerate(tests):
        (folder / f"test_{number}.py").write_text(text)
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = -q -p xdist -p pytest_timeout\nnorecursedirs = browser\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    ended = subprocess.run(
        [str(ROOT / ".ci" / "tests"), sys.executable, sys.executable, "-m", *command.split()],
        cwd=folder,
        env=environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # it starts much faster
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def test_what_passes_is_run_once_and_ends_with_the_closing_line_of_pytest(tmp_path: Path) -> None:
    status, output = ci(tmp_path, PASSES)
    assert status == 0, output
    assert output.splitlines()[-1].startswith("1 passed in ")
    assert "once more" not in output


def test_a_test_that_passes_the_second_time_is_named_and_does_not_fail_the_run(
    tmp_path: Path,
) -> None:
    status, output = ci(tmp_path, FLAKY, PASSES, command="pytest -n 2")
    assert status == 0, output
    assert "FLAKY: test_0.py::test_flaky" in output.splitlines()
    assert "FAILED twice" not in output


def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path) -> None:
    status, output = ci(tmp_path, FLAKY, FAILS)
    assert status == 1, output
    assert "FLAKY: test_0.py::test_flaky" in output.splitlines()
    assert "FAILED twice: test_1.py::test_fails" in output.splitlines()


def test_what_fails_in_a_folder_that_is_named_alone_is_run_once_more_there(tmp_path: Path) -> None:
    """The tests in a browser stand in a folder that pytest does not look into by itself."""
    (tmp_path / "browser").mkdir()
    (tmp_path / "browser" / "test_page.py").write_text(
        FLAKY.replace(
            "def test_flaky():",
            "import pytest\n@pytest.mark.parametrize('of', ['a b'])\ndef test_flaky(of):",
        )
    )
    status, output = ci(tmp_path, FAILS, command="pytest browser")  # what is not named is not run
    assert status == 0, output
    assert "FLAKY: browser/test_page.py::test_flaky[a b]" in output.splitlines()
    assert "test_fails" not in output


@pytest.mark.parametrize(
    ("tests", "command"),
    [
        pytest.param([FAILS, CRASHES], "pytest", id="pytest itself dies"),
        pytest.param([PASSES, BROKEN], "pytest -n 2", id="a file cannot be imported"),
        pytest.param([FLAKY], "no_such_lint", id="pytest is never reached"),
    ],
)
def test_a_run_without_a_list_of_failed_tests_fails_at_once(
    tmp_path: Path, tests: list[str], command: str
) -> None:
    status, output = ci(tmp_path, *tests, command=command)
    assert status != 0, output
    assert "once more" not in output


def test_what_failed_in_an_earlier_run_is_not_counted(tmp_path: Path) -> None:
    ci(tmp_path, FAILS)
    status, output = ci(tmp_path, PASSES)  # in the place of the one that failed
    assert status == 0, output


def test_a_test_that_hangs_is_ended_by_the_limit(tmp_path: Path) -> None:
    status, output = ci(tmp_path, HANGS, PASSES)
    assert status == 1, output
    assert "Timeout" in output
    assert "1 failed, 1 passed" in output
