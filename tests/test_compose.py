"""docker-compose.yml and Dockerfile refer only to what exists: files, commands, flags, services, variables."""

import ast
import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.support.command_lines import check_command_line, parser_of
from tests.support.processes import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_parts_are_all_there() -> None:
    """A store, a relay, two gateways, and a service."""
    assert set(SERVICES) >= {"valkey", "relay", "peer-a", "peer-b", "echo"}
    assert set(OURS) == set(SERVICES) - {"valkey"}


@pytest.mark.parametrize("name", OURS)
def test_commands_and_flags_exist(name: str) -> None:
    """Every command line is understood by the program that it names, which the distribution installs."""
    words = SERVICES[name]["command"]
    assert all(isinstance(word, str) for word in words)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert words[0] in scripts
    check_command_line(words)


def test_the_image_copies_what_exists_and_does_not_run_as_root() -> None:
    """Every source of COPY is in the tree and not ignored; every package is copied; the last user is not root."""
    assert (ROOT / OURS["relay"]["build"] / "Dockerfile").exists()
    sources = [word for line in re.findall(r"(?m)^COPY (.*)$", DOCKERFILE) for word in line.split()[:-1]]
    assert {"pyproject.toml", "README.md", "rmb_peer", "relay"} == set(sources)
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in sources:
        assert (ROOT / source).exists()
        assert source in let_through
    users = re.findall(r"(?m)^USER (\w+)$", DOCKERFILE)
    assert users
    assert users[-1] != "root"
    assert re.search(rf"useradd .*\b{users[-1]}\b", DOCKERFILE)
    assert DOCKERFILE.rindex("\nRUN ") < DOCKERFILE.rindex("\nUSER ")


def test_the_python_of_the_image_is_one_we_support() -> None:
    """The base image is not older than what the distribution asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["requires-python"].removeprefix(">=").split(".")
    (used,) = re.findall(r"(?m)^FROM python:(\d+\.\d+)-slim$", DOCKERFILE)
    assert tuple(map(int, used.split("."))) >= tuple(map(int, needed))


@pytest.mark.parametrize("name", SERVICES)
def test_services_wait_for_services_that_can_say_they_are_ready(name: str) -> None:
    """`depends_on` names a service, and one with a health check where health is awaited."""
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert wait["condition"] in ("service_healthy", "service_started")
        assert wait["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", [name for name in OURS if "healthcheck" in SERVICES[name]])
def test_health_checks_are_python(name: str) -> None:
    """A health check is a line of Python that compiles and asks a service of this file, or itself."""
    words = SERVICES[name]["healthcheck"]["test"]
    assert words[:3] == ["CMD", "python", "-c"]
    ast.parse(words[3])
    assert "127.0.0.1:8080" in words[3] or "'valkey'" in words[3]


def test_addresses_lead_to_services() -> None:
    """Hosts in URLs are services; gateways have a database each, and `echo` and `ask` that of their gateway."""
    databases = {}
    for name, service in OURS.items():
        for scheme, host in re.findall(r"(redis|ws)://([\w-]+):\d+", " ".join(service["command"])):
            assert host == {"redis": "valkey", "ws": "relay"}[scheme]
        databases[name] = re.findall(r"redis://valkey:6379/(\d)", " ".join(service["command"]))
    used = [databases[name] for name in ("relay", "peer-a", "peer-b")]
    assert used == [["0"], ["1"], ["2"]]
    assert (databases["echo"], databases["ask"]) == (["2"], ["1"])
    for name in ("peer-a", "peer-b"):
        assert f"db={databases[name][0]}" in SERVICES[name]["healthcheck"]["test"][3]


def test_the_relay_answers_to_the_name_that_gateways_use() -> None:
    """A gateway lists its relay as in its URL; the relay must know itself by that name."""
    parser, rest = parser_of(SERVICES["relay"]["command"])
    assert list(parser.parse_args(rest).domain) == ["relay:8080"]


def test_secrets_come_from_the_environment_and_must_be_given() -> None:
    """No mnemonic is in the file; each gateway has its own variable, and starting without it fails with a hint."""
    for name, variable in [("peer-a", "RMB_MNEMONIC_A"), ("peer-b", "RMB_MNEMONIC_B")]:
        assert re.fullmatch(rf"\$\{{{variable}:\?.*rmb-peer keys new\}}", SERVICES[name]["environment"]["RMB_MNEMONIC"])
        assert not {"-m", "--mnemonic"} & set(SERVICES[name]["command"])
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_volumes_are_declared() -> None:
    """Named volumes exist."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
