"""Manifests against the schemas of those who read them, and against the program: ports, paths, variables, times.

The schemas are offline ones from packages. A kustomization has none there; `kubectl kustomize` renders it where kubectl is
installed, and its references are followed here in any case.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.prometheus_operator import v1 as operator
from compose_spec import PyCompose

import image
from files import FLEET_FOLDERS, KUBERNETES, ROOT, default_drain_seconds, documents, provider_variables, toml, yaml_files

LINT = "{extends: default, rules: {line-length: disable, document-start: disable, truthy: {check-keys: false}}}"
# What a stop takes beyond server.drain_seconds: what clients left behind is settled, then operators may look once more.
AFTER_DRAIN_SECONDS = 11
SECRET = "tokenbroker-provider-keys"


def manifests(folder):
    """Every document of a folder by its kind."""
    found = [document for path in sorted((KUBERNETES / folder).glob("*.yaml")) for document in documents(path)]
    return {document["kind"]: document for document in found}


def pod(folder):
    return manifests(folder)["Deployment"]["spec"]["template"]


def gateway(folder):
    """The container that is ours."""
    spec = pod(folder)["spec"]
    (ours,) = [c for c in spec.get("initContainers", []) + spec["containers"] if c["name"] == "tokenbroker"]
    return ours


def settings(folder):
    return toml(f"config/kubernetes/{folder}/tokenbroker.toml")


def dumped(model):
    return model.model_dump(by_alias=True, exclude_unset=True, mode="json")


# === as their readers want them ===


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_is_well_formed_and_no_key_stands_twice(path):
    subprocess.run([Path(sys.executable).with_name("yamllint"), "--strict", "-d", LINT, path], check=True)


@pytest.mark.parametrize("folder", FLEET_FOLDERS)
def test_kubernetes_takes_the_manifests(folder):
    oldest = re.search(r"Kubernetes (1\.\d+) or later", (KUBERNETES / folder / "kustomization.yaml").read_text())[1]
    for kind, document in manifests(folder).items():
        if document["apiVersion"].startswith("monitoring.coreos.com/"):
            # The model drops what it does not know, so a member that the schema lacks shows as a difference.
            assert dumped(getattr(operator, kind).model_validate(document)) == document
        elif kind != "Kustomization":
            for version in (oldest, kubernetes_validate.latest_version()):
                kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_do_refuse():
    deployment = manifests("gateway")["Deployment"]
    wrong = yaml.safe_load(yaml.safe_dump(deployment).replace("terminationGracePeriodSeconds", "terminationGraceSeconds"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)
    monitor = manifests("gateway")["ServiceMonitor"]
    misspelt = yaml.safe_load(yaml.safe_dump(monitor).replace("interval: 15s", "intervall: 15s"))
    assert dumped(operator.ServiceMonitor.model_validate(misspelt)) != misspelt


@pytest.mark.parametrize("folder", FLEET_FOLDERS)
def test_a_kustomization_names_what_is_there_and_all_of_it(folder):
    kustomization = manifests(folder)["Kustomization"]
    (generator,) = kustomization["configMapGenerator"]
    named = {*kustomization["resources"], *generator["files"], "kustomization.yaml"}
    assert named == {path.name for path in (KUBERNETES / folder).iterdir()}
    assert generator["options"]["disableNameSuffixHash"], "a changed name restarts the pods instead of reloading"
    used = {container["image"] for container in pod(folder)["spec"]["containers"] + pod(folder)["spec"].get("initContainers", [])}
    assert {entry["name"] for entry in kustomization["images"]} <= used
    version = toml("Cargo.toml")["package"]["version"]
    assert all(entry["newTag"] == version for entry in kustomization["images"])


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("folder", FLEET_FOLDERS)
def test_kubectl_renders_the_folder(folder):
    rendered = subprocess.check_output(["kubectl", "kustomize", KUBERNETES / folder], text=True)
    found = {document["kind"]: document for document in yaml.safe_load_all(rendered)}
    assert set(found) == set(manifests(folder)) - {"Kustomization"} | {"ConfigMap"}
    kubernetes_validate.validate(found["ConfigMap"], kubernetes_validate.latest_version(), strict=True)
    assert set(found["ConfigMap"]["data"]) == {"tokenbroker.toml"}
    assert "registry.example/tokenbroker:" in rendered


def test_compose_takes_the_file():
    services = PyCompose.from_yaml((ROOT / "config/docker-compose.yml").read_text()).service_names()
    assert set(services) == {"gateway", "prometheus", "grafana"}


# === as the program wants them ===


@pytest.mark.parametrize("folder", [*FLEET_FOLDERS, "container"])
def test_the_program_accepts_the_configuration(folder, binary):
    path = ROOT / "config" / ("container" if folder == "container" else f"kubernetes/{folder}") / "tokenbroker.toml"
    environment = {"TOKENBROKER__KEYS__TEAM__SHA256": "0" * 64} if folder == "container" else {}
    done = subprocess.run([binary, "check", "--config", path], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    server = settings(folder)["server"] if folder != "container" else toml("config/container/tokenbroker.toml")["server"]
    assert server["listen"] in done.stdout and server["operations_listen"] in done.stdout


@pytest.mark.parametrize("folder", FLEET_FOLDERS)
def test_ports_and_probes_are_those_of_the_configuration(folder):
    ours, server = gateway(folder), settings(folder)["server"]
    ports = {port["name"]: port["containerPort"] for port in ours["ports"]}
    assert str(ports["operations"]) == server["operations_listen"].rpartition(":")[2]
    assert not server["operations_listen"].startswith("127."), "the kubelet comes from outside"
    probes = {name: ours[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert all(probe["port"] == "operations" for probe in probes.values())
    assert (probes["readiness"]["path"], probes["liveness"]["path"]) == ("/readyz", "/healthz")
    assert probes["startup"]["path"] in ("/readyz", "/healthz")


@pytest.mark.parametrize("folder", FLEET_FOLDERS)
def test_a_pod_has_the_time_to_drain(folder):
    ours, spec = gateway(folder), pod(folder)["spec"]
    before = ours.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = before + settings(folder)["server"]["drain_seconds"] + AFTER_DRAIN_SECONDS
    assert spec["terminationGracePeriodSeconds"] > needed


@pytest.mark.parametrize("folder", FLEET_FOLDERS)
def test_files_are_mounted_where_the_image_looks_and_as_directories(folder):
    ours, spec, final = gateway(folder), pod(folder)["spec"], image.stages()[-1]
    mounts = {mount["mountPath"]: mount for mount in ours["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert not any("subPath" in mount or "subPathExpr" in mount for mount in mounts.values()), "it would never change"
    assert {mount["name"] for mount in mounts.values()} == set(volumes)

    configuration = Path(image.pairs(final.value("ENV"))["TOKENBROKER_CONFIG"])
    (generator,) = manifests(folder)["Kustomization"]["configMapGenerator"]
    assert volumes[mounts[str(configuration.parent)]["name"]]["configMap"]["name"] == generator["name"]
    assert configuration.name in generator["files"]

    (books,) = yaml.safe_load(final.value("VOLUME"))
    volume = volumes[mounts[books]["name"]]
    if folder == "gateway":
        claim = manifests(folder)["PersistentVolumeClaim"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
        deployment = manifests(folder)["Deployment"]["spec"]
        assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")


@pytest.mark.parametrize("folder", FLEET_FOLDERS)
def test_provider_keys_come_from_files_of_the_secret_that_the_folder_says_how_to_make(folder):
    ours, spec = gateway(folder), pod(folder)["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in ours["volumeMounts"]}
    (secret,) = [volume for volume in spec["volumes"] if "secret" in volume]
    assert secret["secret"]["secretName"] == SECRET
    made = (KUBERNETES / folder / "kustomization.yaml").read_text()
    files = set(re.findall(r"--from-file=(\w+)=", made.split(f"create secret generic {SECRET}")[1].splitlines()[0]))
    for variable in ours["env"]:
        assert variable["name"].removesuffix("_FILE") in provider_variables() and variable["name"].endswith("_FILE")
        assert variable["value"] in {f"{mounts[secret['name']]}/{file}" for file in files}


@pytest.mark.parametrize("folder", FLEET_FOLDERS)
def test_the_container_may_do_as_little_as_it_needs(folder):
    ours, spec = gateway(folder), pod(folder)["spec"]
    secured = {**spec["securityContext"], **ours["securityContext"]}
    user, group = map(int, image.stages()[-1].value("USER").split(":"))
    assert (secured["runAsUser"], secured["runAsGroup"], secured["fsGroup"]) == (user, group, group)
    assert secured["runAsNonRoot"] and secured["readOnlyRootFilesystem"] and not secured["allowPrivilegeEscalation"]
    assert secured["capabilities"] == {"drop": ["ALL"]}
    assert secured["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {"cpu", "memory"} <= set(ours["resources"]["requests"]) and "memory" in ours["resources"]["limits"]


def test_the_parts_of_the_shared_gateway_find_each_other():
    found = manifests("gateway")
    labels = pod("gateway")["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in gateway("gateway")["ports"]}
    service, monitor, policy = found["Service"]["spec"], found["ServiceMonitor"]["spec"], found["NetworkPolicy"]["spec"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["selector"].items() <= labels.items()
    assert {port["targetPort"] for port in service["ports"]} == set(ports)
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == set(ports)
    # The service has these labels from the kustomization.
    (given,) = found["Kustomization"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= given["pairs"].items()
    assert given["pairs"][monitor["jobLabel"]] == "tokenbroker", "the alerts look at this job"
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= {port["name"] for port in service["ports"]}
    listens = settings("gateway")["server"]["listen"]
    assert listens == f"0.0.0.0:{ports['api']}" and settings("gateway")["keys"], "beyond loopback with a key"


def test_the_sidecar_is_the_applications_own():
    spec = pod("sidecar")["spec"]
    assert gateway("sidecar")["restartPolicy"] == "Always", "an init container that stays"
    listens = settings("sidecar")["server"]["listen"]
    assert listens.startswith("127.0.0.1:")
    (application,) = spec["containers"]
    told = {variable["name"]: variable["value"] for variable in application["env"]}
    assert told["OPENAI_BASE_URL"] == f"http://{listens}/v1"
    (endpoint,) = manifests("sidecar")["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in gateway("sidecar")["ports"]}
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "tokenbroker"}]


def test_compose_shows_nothing_beyond_loopback_and_starts_what_there_is():
    compose = yaml.safe_load((ROOT / "config/docker-compose.yml").read_text())
    services = compose["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)
    ours = services["gateway"]
    keys = {name for name in ours["environment"] if not name.startswith("TOKENBROKER__")}
    assert keys and keys <= provider_variables()
    assert all(ours["environment"][name] == f"${{{name}:-}}" for name in keys)
    (books,) = yaml.safe_load(image.stages()[-1].value("VOLUME"))
    assert ours["volumes"] == [f"books:{books}"]
    assert int(ours["stop_grace_period"].removesuffix("s")) > default_drain_seconds() + AFTER_DRAIN_SECONDS
    mounted = [volume.split(":")[0] for service in services.values() for volume in service["volumes"] if volume.startswith("./")]
    assert mounted and all((ROOT / "config" / path).exists() for path in mounted)
