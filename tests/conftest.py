"""What all tests share: --full and --no-typecheck, the seed of the day, fixtures for data and browser."""

from __future__ import annotations

import datetime
import os
import random
import re
import shutil
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = 8  # cases of a test marked `big` that run without --full; big(sample=3) asks for another number
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS_BROWSER = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run every case of the tests marked big")
    parser.addoption("--no-typecheck", action="store_true", help="do not check the types of arguments at run time")


# --- the seed of the day ----------------------------------------------------------------------------------------


def plica_seed() -> int:
    """Return the seed of this run: PLICA_SEED, else the date, fixed for all processes of the run by the first."""
    return int(os.environ.setdefault("PLICA_SEED", datetime.date.today().strftime("%Y%m%d")))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    seed = plica_seed()
    if getattr(config.option, "hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(seed)
    _set_up_hypothesis(full=config.getoption("--full"))
    if not config.getoption("--no-typecheck"):
        import typecheck

        typecheck.install(ROOT / "src")


def pytest_report_header(config: pytest.Config) -> str:
    how = "every case" if config.getoption("--full") else f"a sample of up to {SAMPLE} cases"
    return f"plica: seed {plica_seed()}, {how} of each big test; to repeat this run: PLICA_SEED={plica_seed()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a sample of each test marked big, drawn by the seed of the day and the test's name."""
    if config.getoption("--full") or _named_on_command_line(config):
        return
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("big"):
            groups.setdefault(item.nodeid.split("[")[0], []).append(item)
    dropped = {id(item) for name, group in groups.items() for item in _left_out(name, group)}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in dropped])
    items[:] = [item for item in items if id(item) not in dropped]


def _named_on_command_line(config: pytest.Config) -> bool:
    """Whether one case was asked for by its id, as in test_x.py::test_y[17]."""
    return any(re.search(r"::.*\[", argument) for argument in config.args)


def _left_out(name: str, group: list[pytest.Item]) -> list[pytest.Item]:
    count = group[0].get_closest_marker("big").kwargs.get("sample", SAMPLE)
    draw = random.Random(plica_seed() * 1_000_003 + zlib.crc32(name.encode()))
    kept = set(draw.sample(range(len(group)), min(count, len(group))))
    return [item for i, item in enumerate(group) if i not in kept]


def _set_up_hypothesis(*, full: bool) -> None:
    """No deadline: nothing here is timed. The database would make a run depend on the ones before."""
    from hypothesis import HealthCheck, settings

    common = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("plica", settings(max_examples=300 if full else 40, **common))
    settings.load_profile("plica")


# --- fixtures ---------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _torch_starts_alike() -> None:
    """Layers that a test makes without a seed have the same weights whatever ran before."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of the day, for tests that draw their own cases."""
    return plica_seed()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real networks and images: PLICA_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("PLICA_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no networks and images at {folder}; name their folder in PLICA_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium or Chrome on this machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and MACOS_BROWSER.exists():
        found = str(MACOS_BROWSER)
    if found is None:
        pytest.skip(f"no browser here (looked for {', '.join(BROWSERS)})")
    return found
