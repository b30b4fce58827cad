"""Prometheus' configuration, the alerts and the dashboard: what their own tools say, whether every name in them is one that the
program has, and whether every expression gives figures over a gateway that really works.
"""

import json
import re

import pytest
import yaml

import image
from files import ROOT, documented_metrics
from prometheus import ADDED, Market, Prometheus, get, labels_in, legend_labels, metrics_in, promtool, until

CONFIG = ROOT / "config"
# Stays without data as long as the promise holds that it tells about.
# What has no series without its cause: a report beyond what was held, and what the sandbox's table and settings have not.
EMPTY_WHERE_ALL_IS_WELL = {
    "tokenbroker_fleet_store_up",
    "tokenbroker_fleet_waiting_requests",
    "tokenbroker_overage_usd_total",
    "tokenbroker_cache_expected_tokens_total",
    "tokenbroker_calendar_known_until_timestamp_seconds",
    "tokenbroker_portfolio_cap_cost_usd_total",
    "tokenbroker_prepaid_remaining",
    "tokenbroker_price_change_ratio",
    "tokenbroker_price_feed_age_seconds",
    "tokenbroker_price_feed_looks_total",
    "tokenbroker_price_quarantined",
    "tokenbroker_price_quarantined_since_timestamp_seconds",
    "tokenbroker_provider_token_renewals_total",
    "tokenbroker_quota_granted",
    "tokenbroker_quota_remaining",
    "tokenbroker_reports_at_stake_usd",
    "tokenbroker_reports_drifted",
    "tokenbroker_served_model_changes_total",
}


def alerts():
    (group,) = yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]
    return group["rules"]


def dashboard():
    return json.loads((CONFIG / "grafana/dashboards/tokenbroker.json").read_text())


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def targets():
    return [(panel, target) for panel in panels() for target in panel["targets"]]


def without_variables(expression):
    """The expression as Grafana would send it. The interval is four scrapes of this test's Prometheus and some."""
    return expression.replace("$__rate_interval", "5s").replace("$__range", "1m").replace("$instance", ".*")


# === what their own tools say ===


def test_promtool_accepts_configuration_and_rules():
    for arguments in (("check", "config", CONFIG / "prometheus.yml"), ("check", "rules", CONFIG / "alerts.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


def test_every_alert_is_raised_and_kept_quiet_by_data():
    done = promtool("test", "rules", CONFIG / "alerts.test.yml")
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr
    tests = yaml.safe_load((CONFIG / "alerts.test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test["promql_expr_test"]]
    raised = {re.search(r'alertname="(\w+)"', sample["labels"])[1] for check in checks for sample in check["exp_samples"]}
    assert raised == {rule["alert"] for rule in alerts()}
    # The whole list of alerts is compared each time, so each of these keeps all of them quiet.
    assert sum(not check["exp_samples"] for check in checks) >= len(raised)


def test_the_tests_of_the_alerts_can_fail(tmp_path):
    """One of them alone, over rules whose threshold is another: promtool must see it."""
    whole = yaml.safe_load((CONFIG / "alerts.test.yml").read_text())
    one = {**whole, "tests": [test for test in whole["tests"] if test["name"] == "many requests under way, as planned"]}
    (tmp_path / "alerts.test.yml").write_text(yaml.safe_dump(one))
    rules = (CONFIG / "alerts.yml").read_text()
    for threshold, passes in (("> 3072", True), ("> 2000", False)):
        (tmp_path / "alerts.yml").write_text(rules.replace("> 3072", threshold))
        assert (promtool("test", "rules", tmp_path / "alerts.test.yml").returncode == 0) == passes


# === what they say to people ===


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_and_what_to_do(rule):
    assert re.fullmatch(r"Tokenbroker[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    told = rule["annotations"]
    assert 20 < len(told["summary"]) < 140 and len(told["description"]) > 80, told


def test_every_threshold_has_its_reason_beside_it():
    text = (CONFIG / "alerts.yml").read_text()
    for rule in text.split("- alert: ")[1:]:
        name, rest = rule.split("\n", 1)
        if name != "TokenbrokerDown":
            assert rest.lstrip().startswith("# "), f"{name} has no word on its threshold"


def test_the_dashboard_is_sound():
    board, ids = dashboard(), set()
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert board["uid"] == "tokenbroker" and len(rows) >= 5
    taken = set()
    for panel in board["panels"]:
        assert panel["id"] not in ids, panel["title"]
        ids.add(panel["id"])
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    for panel in panels():
        assert panel["title"] and len(panel["description"]) > 3 and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__rate_interval", "__range", "__all"}
    assert used == variables


def test_grafana_is_told_of_the_dashboards_folder_and_of_prometheus():
    (provider,) = yaml.safe_load((CONFIG / "grafana/provisioning/dashboards/tokenbroker.yml").read_text())["providers"]
    (source,) = yaml.safe_load((CONFIG / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    services = yaml.safe_load((CONFIG / "docker-compose.yml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert source["type"] == "prometheus" and source["url"] == "${PROMETHEUS_URL}"
    # Prometheus is in the gateway's network, so it is asked there, and there its port is published.
    assert services["prometheus"]["network_mode"] == "service:gateway"
    assert services["grafana"]["environment"]["PROMETHEUS_URL"] == "http://gateway:9090"
    assert any(port.endswith(":9090") for port in services["gateway"]["ports"])
    scrape = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    (job,) = scrape["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target.rpartition(":")[2] in image.stages()[-1].value("EXPOSE").split()


# === names ===


def expressions():
    for rule in alerts():
        text = "".join(rule["annotations"].values())
        yield rule["alert"], rule["expr"], set(re.findall(r"\$labels\.(\w+)", text))
    for panel, target in targets():
        yield panel["title"], target["expr"], legend_labels(target["legendFormat"])


def test_every_metric_and_label_is_one_that_the_program_has():
    known = documented_metrics() | {"up": set()}
    for where, expression, told in expressions():
        metrics = metrics_in(expression)
        assert metrics and metrics <= set(known), f"{where}: {metrics - set(known)} in {expression}"
        labels = set().union(*(known[metric] for metric in metrics)) | ADDED
        assert labels_in(expression) <= labels, f"{where}: {labels_in(expression) - labels} in {expression}"
        grouped = re.match(r"(?:\w+ \* )?\w+ by \(([^)]*)\)", expression)
        shown = {name.strip() for name in grouped[1].split(",")} if grouped else labels
        assert told <= shown, f"{where} tells {told - shown}, which {expression} does not keep"


def test_every_metric_of_the_program_is_on_the_dashboard():
    shown = set().union(*(metrics_in(target["expr"]) for _, target in targets()))
    families = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in shown}
    documented = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in documented_metrics()}
    assert documented - families == set()


def test_names_that_no_program_has_are_found():
    known = documented_metrics()
    assert metrics_in('sum by (model) (rate(tokenbroker_made_up_total{key="process_x"}[5m]))') == {"tokenbroker_made_up_total"}
    assert labels_in('sum by (le, nobody) (rate(tokenbroker_x{a="b",c=~"d"}[5m]))') == {"le", "nobody", "a", "c"}
    assert known["tokenbroker_ttft_seconds_bucket"] == {"backend", "le"}


# === over a gateway that really works ===


@pytest.fixture(scope="module")
def market(binary, tmp_path_factory):
    running = Market(binary, tmp_path_factory.mktemp("market"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def prometheus(market, tmp_path_factory):
    target = market.metrics_url.removeprefix("http://").removesuffix("/metrics")
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), target)
    # A rate takes a few scrapes of a series that has begun, and what fails by chance needs its time to fail.
    rare = "sum(rate(tokenbroker_failovers_total[5s])) > 0 and sum(rate(tokenbroker_rejections_total[5s])) > 0"
    until("a few scrapes with some failures", lambda: running.query(rare) and running.query("count_over_time(up[1m]) > 8"))
    yield running
    running.close()


def test_the_scrape_is_one_that_promtool_has_nothing_against(market, prometheus):
    status, text = get(market.metrics_url)
    assert status == 200
    done = promtool("check", "metrics", input=text)
    assert done.returncode == 0 and not done.stdout and not done.stderr, done.stdout + done.stderr


def test_the_scrape_holds_what_is_documented_and_no_more(market, prometheus):
    _, text = get(market.metrics_url)
    scraped = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        scraped.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    known = documented_metrics()
    assert {name: labels for name, labels in scraped.items() if known.get(name) != labels} == {}
    histograms = {name.removesuffix("_bucket") for name in known if name.endswith("_bucket")}
    assert set(known) - set(scraped) - histograms == EMPTY_WHERE_ALL_IS_WELL


@pytest.mark.parametrize("title, expression", [(panel["title"], target["expr"]) for panel, target in targets()])
def test_every_panel_has_figures(prometheus, title, expression):
    found = prometheus.query(without_variables(expression))
    assert found or metrics_in(expression) <= EMPTY_WHERE_ALL_IS_WELL, f"{title}: no figures for {expression}"
    assert all(sample["value"][1] != "NaN" for sample in found) or "histogram_quantile" in expression, found


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_is_evaluated_over_metrics_that_are_there(prometheus, rule):
    prometheus.query(rule["expr"])
    for metric in metrics_in(rule["expr"]) - EMPTY_WHERE_ALL_IS_WELL:
        assert prometheus.query(metric), f"{metric} is not scraped"


def test_prometheus_evaluates_the_rules_without_an_error(prometheus):
    def evaluated():
        groups = json.loads(get(f"{prometheus.url}/api/v1/rules")[1])["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = until("the first evaluation", evaluated)
    assert {rule["name"] for rule in rules} == {rule["alert"] for rule in alerts()}
    assert all(rule["health"] == "ok" for rule in rules), rules
    down = [rule for rule in rules if rule["name"] in ("TokenbrokerDown", "TokenbrokerBooksUnwritable")]
    assert all(rule["state"] == "inactive" for rule in down), down
