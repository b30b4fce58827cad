"""The repository's files that the checks read, and what is read of them in more than one place."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "config/kubernetes"
FLEET_FOLDERS = ("gateway", "sidecar")


def toml(path):
    return tomllib.loads((ROOT / path).read_text())


def documents(path):
    return [document for document in yaml.safe_load_all(Path(path).read_text()) if document]


def default_drain_seconds():
    """From the example, in which every setting stands with its default, behind a `#`."""
    return int(re.search(r"^#? *drain_seconds = (\d+)\b", (ROOT / "config/tokenbroker.toml").read_text(), re.MULTILINE)[1])


def yaml_files():
    """Every YAML file below `config`."""
    return sorted(path for ending in ("yml", "yaml") for path in (ROOT / "config").rglob(f"*.{ending}"))


def provider_variables():
    """The variables that the table names for providers' keys."""
    return {provider["api_key_env"] for provider in toml("providers.toml")["providers"].values() if "api_key_env" in provider}


def documented_metrics():
    """Name to labels, from docs/metrics.md, which a test of the program itself holds to the program."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    metrics = {}
    for name, kind, labels in rows:
        own = set(re.findall(r"`(\w+)`", labels))
        metrics[name] = own
        if kind == "histogram":
            metrics |= {name + "_bucket": own | {"le"}, name + "_count": own, name + "_sum": own}
    return metrics
