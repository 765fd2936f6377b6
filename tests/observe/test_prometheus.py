"""Do Prometheus itself and its tools take what we give them? The real programs, on the real files and a live app."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from phase1.observe.families import FAMILIES
from tests.observe.live.stage import METRICS, ROOT, drive, free_port, live_app, process, program, upstream, wait_for

DEPLOY = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "phase1.json").read_text())
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SAMPLES = {family.name + suffix: family.name for family in FAMILIES for suffix in SUFFIXES[family.kind]}


def promtool(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """What promtool says."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, cwd=DEPLOY, input=text, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "phase1.rules.yml"),
        ("test", "rules", "phase1.rules_test.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_promtool_takes_the_files(arguments: tuple[str, ...]) -> None:
    """Rules, the alerts' unit tests, the scrape configuration."""
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> str:
    """The rules without their comments."""
    return re.sub(r"(?m)^\s*#.*$", "", (DEPLOY / "phase1.rules.yml").read_text())


def alerts() -> list[str]:
    """Their names."""
    return re.findall(r"- alert: (\w+)", rules())


def test_every_alert_waits_has_a_severity_and_is_tested_both_ways() -> None:
    """No alert fires at the first sight of something, and each is seen on and off."""
    assert len(alerts()) == 13
    tests = (DEPLOY / "phase1.rules_test.yml").read_text().split("\n  - name: ")[1:]
    for block in re.split(r"- alert: ", rules())[1:]:
        name = block.split()[0]
        assert re.search(r"\n\s+for: \d+m\n", block), name
        assert re.search(r"severity: (warning|critical)", block), name
        mine = [test for test in tests if f"alertname: {name}\n" in test]
        assert any("exp_alerts: []" in test for test in mine), name
        assert any("exp_labels" in test for test in mine), name


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    """The runbook anchor leads somewhere."""
    headings = {
        re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
        for heading in re.findall(r"(?m)^#+ (.+)$", (ROOT / "INTEGRATION.md").read_text())
    }
    anchors = re.findall(r"runbook: INTEGRATION\.md#(\S+)", rules())
    assert [alert.lower() for alert in alerts()] == anchors
    assert set(anchors) <= headings


def panels() -> Iterator[dict[str, Any]]:
    """Those with a query."""
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def queries() -> list[str]:
    """Every query of the dashboard."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def names_in(text: str) -> set[str]:
    """The metrics that a query or rule asks for."""
    return set(re.findall(r"\b((?:phase1|gen_ai_client)_\w+)(?=\{|\[|\)| |$)", text)) - {"gen_ai_client"}


def test_every_metric_is_on_a_panel_and_every_panel_asks_for_one_that_exists() -> None:
    """The same for the rules: nothing is asked for that is not there, and nothing is there that nobody sees."""
    labels = {label for family in FAMILIES for label in family.labels}
    asked = {name for query in queries() for name in names_in(query)} - labels
    expressions = re.sub(
        r"job_instance\w*:\w+:\w+", "", "\n".join(re.findall(r"(?s)expr: (.*?)\n\s+(?:for:|- record|$)", rules()))
    )
    ruled = {name for name in names_in(expressions) if name not in labels}
    assert asked <= SAMPLES.keys()
    assert ruled <= SAMPLES.keys()
    assert {SAMPLES[name] for name in asked} == {family.name for family in FAMILIES}


def test_dashboard_keeps_the_linters_rules() -> None:
    """Grafana's dashboard-linter: data source, matchers, units, descriptions, the rate interval."""
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables.keys() == {"datasource", "job", "instance"}
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            selectors = re.findall(r"\{(.*?)\}", target["expr"])
            assert selectors, target["expr"]
            assert all('job=~"$job", instance=~"$instance"' in selector for selector in selectors), target["expr"]
            assert all(window == "$__rate_interval" for window in re.findall(r"\[(.*?)\]", target["expr"]))


def test_dashboard_is_what_its_script_writes() -> None:
    """Nobody has edited one of the two."""
    namespace: dict[str, Any] = {"__file__": str(ROOT / "scripts" / "gen_dashboard.py"), "__name__": "gen"}
    source = (ROOT / "scripts" / "gen_dashboard.py").read_text()
    import sys
    import types

    module = types.ModuleType("gen")
    module.__dict__.update(namespace)
    sys.modules["gen"] = module  # dataclasses look their module up
    try:
        exec(compile(source, "gen_dashboard.py", "exec"), module.__dict__)  # noqa: S102 - our own script
        assert (ROOT / "deploy" / "grafana" / "dashboards" / "phase1.json").read_text() == module.render()
    finally:
        del sys.modules["gen"]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A live app that has answered, and a Prometheus that scrapes it by the shipped configuration."""
    prometheus = program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with upstream(folder) as up, live_app(folder, up) as app:
        asyncio.run(drive(app, ["/chat", "/stream", "/typo"]))
        asyncio.run(drive(app, ["/block"], users=1, times=2))
        config = _configuration(folder, app)
        port = free_port()
        command = [
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with process(command, folder):
            url = f"http://127.0.0.1:{port}"
            scrapes = 'count_over_time(phase1_enabled{job="phase1"}[1m])'
            wait_for(lambda: _value(url, scrapes) >= 1, "the first scrape")
            asyncio.run(drive(app, ["/chat", "/stream", "/typo"]))  # or no counter would rise between two scrapes
            wait_for(lambda: _value(url, scrapes) >= 3, "the third scrape")
            yield url, app


def _configuration(folder: Path, app: str) -> Path:
    """The shipped one, but for the address, the pace and where its files are."""
    (folder / "phase1-metrics-token").write_text(METRICS)
    (folder / "phase1.rules.yml").write_text((DEPLOY / "phase1.rules.yml").read_text())
    text = (DEPLOY / "prometheus.yml").read_text()
    for old, new in (("localhost:8000", app.removeprefix("http://")), ("15s", "1s")):
        assert old in text
        text = text.replace(old, new)
    path = folder / "prometheus.yml"
    path.write_text(text)
    return path


def _ask(url: str, query: str) -> list[dict[str, Any]]:
    try:
        response = httpx.get(f"{url}/api/v1/query", params={"query": query}, trust_env=False)
    except httpx.HTTPError:
        return []
    result: list[dict[str, Any]] = response.json().get("data", {}).get("result", []) if response.is_success else []
    return result


def _value(url: str, query: str) -> float:
    return max((float(found["value"][1]) for found in _ask(url, query)), default=0.0)


@pytest.mark.timeout(120)
def test_prometheus_returns_a_series_for_every_panel(scraped: tuple[str, str]) -> None:
    """Scraped with the metrics token, by the shipped configuration."""
    url, _ = scraped
    filled = {
        query: query.replace("$job", "phase1").replace("$instance", ".+").replace("$__rate_interval", "1m")
        for query in queries()
    }
    empty: set[str] = set(filled)

    def all_there() -> bool:
        empty.difference_update([query for query in empty if _ask(url, filled[query])])
        return not empty

    try:
        wait_for(all_there, "a series for every panel")
    except AssertionError:
        assert sorted(empty) == []
    assert _value(url, "phase1_route_total") > 0


@pytest.mark.timeout(120)
def test_prometheus_loads_the_rules_and_no_alert_is_broken(scraped: tuple[str, str]) -> None:
    """Each rule is evaluated without an error."""
    url, _ = scraped

    def evaluated() -> list[dict[str, Any]]:
        groups = httpx.get(f"{url}/api/v1/rules", trust_env=False).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    wait_for(lambda: all(rule["health"] == "ok" for rule in evaluated()), "every rule healthy")
    assert {rule["name"] for rule in evaluated() if rule["type"] == "alerting"} == set(alerts())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_promtool_accepts_the_live_exposition(scraped: tuple[str, str], accept: str) -> None:
    """With every label value that traffic brings; of the two formats promtool reads the text."""
    _, app = scraped
    headers = {"authorization": f"Bearer {METRICS}", "accept": accept}
    response = httpx.get(f"{app}/metrics/llm", headers=headers, trust_env=False)
    assert response.status_code == 200
    assert "planted" not in response.text
    if accept == "text/plain":
        done = promtool("check", "metrics", text=response.text)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
