"""deploy/kubernetes and deploy/docker: valid by the published schemas, and in agreement with Aeros' own options."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aeros.options import resolve

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

yaml = pytest.importorskip("yaml")
kubernetes_validate = pytest.importorskip("kubernetes_validate")


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def kind(name: str) -> dict:
    (found,) = [document for document in documents("aeros.yaml") if document["kind"] == name]
    return found


@pytest.mark.parametrize("version", ["1.30", "1.33"])
@pytest.mark.parametrize("document", documents("aeros.yaml"), ids=lambda it: f"{it['kind']}-{it['metadata']['name']}")
def test_valid_by_the_published_schema(document: dict, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_does_refuse() -> None:
    broken = kind("Deployment")
    broken["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "http"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.33", strict=True)


def test_the_monitor_of_a_kind_no_schema_is_published_with() -> None:
    (monitor,) = documents("servicemonitor.yaml")
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor")
    services = [document for document in documents("aeros.yaml") if document["kind"] == "Service"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [document for document in services if wanted <= document["metadata"]["labels"].items()]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint.keys() <= {"port", "path", "interval", "authorization"}
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_names_and_selectors_meet() -> None:
    deployment = kind("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    for document in documents("aeros.yaml"):
        if document["kind"] == "Service":
            assert document["spec"]["selector"].items() <= labels.items()
            assert {port["targetPort"] for port in document["spec"]["ports"]} <= ports
    assert {container[probe]["httpGet"]["port"] for probe in container if probe.endswith("Probe")} <= ports


def test_a_pod_is_given_the_time_its_options_ask_for() -> None:
    pod = kind("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # The admin port's options are an extra's; what they say is not about time.
    args = [argument for argument in container["args"][1:] if not argument.startswith("--admin")]
    options = resolve(args, environ={})
    needs = options.drain_delay_s + options.drain_timeout_s + options.shutdown_timeout_s + 1
    assert pod["terminationGracePeriodSeconds"] > needs
    probe = container["readinessProbe"]
    assert options.drain_delay_s > 2 * probe["periodSeconds"] * probe["failureThreshold"]
    boot = container["startupProbe"]
    assert boot["periodSeconds"] * boot["failureThreshold"] >= options.boot_timeout_s


def test_the_image_runs_aeros_itself_and_not_as_root() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    assert text.count("FROM ") == 2
    user = re.search(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    assert user is not None
    context = kind("Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert (int(user[1]), int(user[2])) == (context["runAsUser"], context["runAsGroup"])
    forms = dict(re.findall(r"^(ENTRYPOINT|CMD) (.+)$", text, re.MULTILINE))
    assert json.loads(forms["ENTRYPOINT"]) == ["aeros", "run"]
    _, *args = json.loads(forms["CMD"])
    assert resolve(args, environ={}).binds == ("0.0.0.0:8000",)
