"""Scenario files: what is read, and how mistakes are named."""

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.gossip.scenario import MOST_NODES, ScenarioError, built_in, parse, read
from tests.simulation.gossip.steps import Bootstrap, Rounds
from tests.simulation.gossip.story import make_profile

GOOD: dict[str, Any] = {"name": "a", "nodes": 20, "steps": [{"do": "bootstrap"}, {"do": "rounds", "count": 3}]}


def test_defaults_hold_for_every_scenario_and_can_be_overridden() -> None:
    """[defaults] is laid under every [[scenario]]."""
    file = parse({"defaults": {"seeds": 3}, "scenario": [GOOD, {**GOOD, "name": "b", "seeds": 4}]}, "x")
    assert [scenario.seeds for scenario in file.scenarios] == [3, 4]
    assert file.scenarios[0].steps == (Bootstrap(), Rounds(count=3))


@pytest.mark.parametrize("name", built_in())
def test_every_built_in_file_is_sound(name: str) -> None:
    """Built-in files parse, and their profiles and changed settings exist."""
    for scenario in read(built_in()[name]).scenarios:
        for profile in scenario.profiles:
            make_profile(profile, scenario.changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nodes": 1}, "nodes from 2"),
        ({"nodes": MOST_NODES + 1}, "nodes from 2"),
        ({"nodes": 2.5}, "whole number"),
        ({"nodes": True}, "whole number"),
        ({"colour": 1}, "unknown setting 'colour'"),
        ({"steps": []}, "one step"),
        ({"seeds": 0}, "one seed"),
        ({"steps": [{"do": "dance"}]}, "'dance' is unknown"),
        ({"steps": [{"do": "rounds"}]}, "count is missing"),
        ({"steps": [{"do": "rounds", "count": -1}]}, "negative"),
        ({"steps": [{"do": "crash", "fraction": 1}]}, "below 1"),
        ({"steps": [{"do": "split", "parts": 0}]}, "above 0"),
        ({"steps": [{"do": "rounds", "count": 1, "authors": "none"}]}, "'one' or 'random' or 'all'"),
        ({"latency": {"min_ms": 9, "max_ms": 8}}, "min_ms <= max_ms"),
        ({"anchor": {"rmr": "low"}}, "a number, or"),
        ({"expect": [{"measure": "rmr"}]}, "needs one of"),
        ({"expect": [{"measure": "rmr", "at_most": 1, "at_least": 0}]}, "needs one of"),
        ({"expect": [{"measure": "rmr", "within_sds": 2}]}, "needs an anchor"),
        ({"expect": [{"measure": "rmr", "at_most": 1, "profile": "theirs"}]}, "'theirs'"),
        ({"profiles": ["ours"], "expect": [{"measure": "rmr", "at_most_times_upstream": 1}]}, "needs the profile"),
    ],
)
def test_mistakes_are_named_with_place_and_remedy(change: dict[str, Any], words: str) -> None:
    """A wrong scenario is refused with file, scenario and what to do."""
    with pytest.raises(ScenarioError, match="file") as caught:
        parse({"scenario": [{**GOOD, **change}]}, "file.toml")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "at least one"),
        ({"scenario": [GOOD, GOOD]}, "no name twice"),
        ({"scenarios": [GOOD]}, "unknown table"),
        ({"scenario": GOOD}, "double brackets"),
        ({"scenario": [GOOD], "panel": [{"title": "t", "measure": "m", "x_label": "x", "y_label": "y"}]}, "either"),
        (
            {
                "scenario": [GOOD],
                "panel": [{"title": "t", "measure": "m", "x_label": "x", "y_label": "y", "rounds_of": "z"}],
            },
            "'z' is not in this file",
        ),
    ],
)
def test_mistakes_of_the_whole_file_are_named(document: dict[str, Any], words: str) -> None:
    """A wrong file is refused."""
    with pytest.raises(ScenarioError) as caught:
        parse(document, "file.toml")
    assert words in str(caught.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """No such file, no TOML, no UTF-8: one kind of error."""
    (tmp_path / "a.toml").write_text("[[", encoding="utf-8")
    (tmp_path / "b.toml").write_bytes(b"\xff")
    for name in ("a.toml", "b.toml", "c.toml"):
        with pytest.raises(ScenarioError, match=name):
            read(tmp_path / name)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["nodes", "steps", "anchor", "latency", "expect", "profiles", "changes", "seeds"]), JSONISH)
def test_noise_gives_a_scenario_or_the_documented_error(setting: str, noise: Any) -> None:
    """Whatever stands in a setting, nothing but `ScenarioError` comes out."""
    with contextlib.suppress(ScenarioError):
        parse({"scenario": [{**GOOD, setting: noise}]}, "x")


def test_unknown_profile_or_setting_is_refused() -> None:
    """Profiles and changed settings are checked by name."""
    with pytest.raises(ScenarioError, match="'theirs'"):
        make_profile("theirs", {})
    with pytest.raises(ScenarioError, match="'speed'"):
        make_profile("ours", {"speed": 1})
    assert make_profile("upstream", {"graft_first_s": 0.5}).broadcast.graft_first_s == 0.5
    assert make_profile("upstream", tomllib.loads("shuffle_interval_s = 5")).membership.shuffle_interval_s == 5
