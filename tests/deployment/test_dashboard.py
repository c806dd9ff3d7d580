"""The dashboard and the alerts: every metric and label they name is one that a running server exposes."""

import json
import re

import pytest

from tests.deployment.units import DEPLOYMENT
from tests.harness import Server
from tests.metrics_document import documented_metrics

DASHBOARD = json.loads((DEPLOYMENT / "grafana-dashboard.json").read_text("utf-8"))
ALERTS = (DEPLOYMENT / "alerts.yml").read_text("utf-8")
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# Prometheus adds these to whatever it scrapes, and a bucket has its bound.
OTHER_LABELS = {"instance", "job", "le"}


def shown_expressions() -> list[str]:
    """Every PromQL expression of the dashboard."""
    panels = [target["expr"] for panel in PANELS for target in panel["targets"]]
    marks = [each["expr"] for each in DASHBOARD["annotations"]["list"] if "expr" in each]
    variables = [each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    return panels + marks + variables


def alert_expressions() -> list[str]:
    found = re.findall(r"^ +expr: (?:>-\n)?(.*?)\n +(?:for|labels):", ALERTS, re.MULTILINE | re.DOTALL)
    assert len(found) == ALERTS.count("- alert:")
    return found


EXPRESSIONS = shown_expressions() + alert_expressions()


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression names; a histogram's series are of one metric."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"jeton_\w+", expression)}


def labels_in(expression: str) -> set[str]:
    """The labels by which it selects, groups or names."""
    selected = re.findall(r"(\w+) ?(?:=~|!~|!=|=)\"", expression)
    grouped = [name for names in re.findall(r"by \(([^)]*)\)", expression) for name in names.split(", ")]
    asked = re.findall(r"label_values\(\w+, (\w+)\)", expression)
    return {*selected, *grouped, *asked} - OTHER_LABELS


def test_every_metric_of_the_dashboard_and_the_alerts_is_exposed_by_a_running_server(server: Server):
    families = set(re.findall(r"^# TYPE (\S+) ", server.client.get("/metrics").text, re.MULTILINE))

    named = {name for expression in EXPRESSIONS for name in metrics_in(expression)}

    assert named
    assert named <= families


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression_selects_and_groups_by_labels_that_its_metrics_have(expression: str):
    documented = documented_metrics()

    for name in metrics_in(expression):
        assert labels_in(expression) <= documented[name], name


def test_dashboard_shows_every_metric_but_those_of_the_process_itself():
    shown = {name for expression in EXPRESSIONS for name in metrics_in(expression)}

    assert not {name for name in set(documented_metrics()) - shown if not name.startswith("jeton_pool_")}


def test_dashboard_can_be_imported_over_any_data_source():
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}

    assert variables["datasource"]["type"] == "datasource"
    assert {json.dumps(panel["datasource"]) for panel in PANELS} == {
        json.dumps({"type": "prometheus", "uid": "${datasource}"})
    }
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}
    assert used == set(variables)


def test_dashboard_has_a_row_for_each_topic_and_its_panels_stand_side_by_side():
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert rows == ["Traffic", "Latency", "Queue", "Engines", "Journal", "Processes"]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
