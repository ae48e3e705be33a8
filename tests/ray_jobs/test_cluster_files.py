"""The files that start clusters: valid to what reads them, and saying the same of every node."""

import copy
import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "ray_jobs" / "cluster"


def record(required=(), **properties):
    """The schema of a mapping with these keys and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def several(item):
    return {"type": "array", "items": item}


TEXT, FLAG, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITY = {
    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^\d+(\.\d+)?[KMGTPE]?i?m?$"}]
}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
# What KubeRay's custom resource definition (rayjobs.ray.io, version v1, of KubeRay 1.7.0) says of
# the fields that the file uses, and the names of those beside them.
CONTAINER = record(
    ["name"], name=TEXT, image=TEXT, command=several(TEXT), args=several(TEXT),
    env=several(record(["name"], name=TEXT, value=TEXT, valueFrom={"type": "object"})),
    resources=record(limits=QUANTITIES, requests=QUANTITIES),
    ports=several(record(["containerPort"], containerPort=NUMBER, name=TEXT)),
    securityContext=record(
        allowPrivilegeEscalation=FLAG, privileged=FLAG, readOnlyRootFilesystem=FLAG,
        runAsGroup=NUMBER, runAsNonRoot=FLAG, runAsUser=NUMBER,
        capabilities=record(add=several(TEXT), drop=several(TEXT)),
    ),
    volumeMounts=several(
        record(["mountPath", "name"], mountPath=TEXT, name=TEXT, readOnly=FLAG, subPath=TEXT)
    ),
)  # fmt: skip
POD = record(
    ["containers"], containers=several(CONTAINER), automountServiceAccountToken=FLAG,
    nodeSelector=TEXTS, serviceAccountName=TEXT,
    securityContext=record(
        fsGroup=NUMBER, runAsGroup=NUMBER, runAsNonRoot=FLAG, runAsUser=NUMBER,
        seccompProfile=record(["type"], type=TEXT, localhostProfile=TEXT),
    ),
    tolerations=several(record(effect=TEXT, key=TEXT, operator=TEXT, value=TEXT)),
    volumes=several(
        record(
            ["name"], name=TEXT, emptyDir=record(medium=TEXT, sizeLimit=QUANTITY),
            persistentVolumeClaim=record(["claimName"], claimName=TEXT, readOnly=FLAG),
        )
    ),
)  # fmt: skip
TEMPLATE = record(["spec"], metadata=record(labels=TEXTS, annotations=TEXTS), spec=POD)
HEAD = record(
    ["template"], rayStartParams=TEXTS, serviceType=TEXT, labels=TEXTS, resources=TEXTS,
    template=TEMPLATE,
)  # fmt: skip
WORKERS = record(
    ["groupName", "maxReplicas", "minReplicas", "template"], groupName=TEXT, replicas=NUMBER,
    minReplicas=NUMBER, maxReplicas=NUMBER, numOfHosts=NUMBER, rayStartParams=TEXTS,
    idleTimeoutSeconds=NUMBER, labels=TEXTS, resources=TEXTS, template=TEMPLATE,
)  # fmt: skip
CLUSTER = record(
    ["headGroupSpec"], rayVersion=TEXT, enableInTreeAutoscaling=FLAG,
    authOptions=record(
        mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=FLAG
    ),
    headGroupSpec=HEAD, workerGroupSpecs=several(WORKERS),
)  # fmt: skip
RAY_JOB = record(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"},
    metadata=record(["name"], name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS),
    spec=record(
        ["entrypoint", "rayClusterSpec"],  # the operator asks for these, not the definition
        entrypoint=TEXT, entrypointNumCpus={"type": "number"}, runtimeEnvYAML=TEXT,
        # the definition takes any text, the operator one of these
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        shutdownAfterJobFinishes=FLAG, ttlSecondsAfterFinished=NUMBER, backoffLimit=NUMBER,
        activeDeadlineSeconds=NUMBER, suspend=FLAG, rayClusterSpec=CLUSTER,
    ),
)  # fmt: skip
CLAIM = record(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "v1"}, kind={"const": "PersistentVolumeClaim"},
    metadata=record(["name"], name=TEXT),
    spec=record(
        ["accessModes", "resources"], storageClassName=TEXT, resources=record(requests=QUANTITIES),
        accessModes=several(
            {"enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]}
        ),
    ),
)  # fmt: skip


@pytest.fixture
def machines():
    return yaml.safe_load((FOLDER / "machines.yaml").read_text())


@pytest.fixture
def manifests():
    """The claim and the job."""
    return list(yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text()))


@pytest.fixture
def ray_job(manifests):
    return copy.deepcopy(manifests[1])  # without parts that are one object


def pods_of(job):
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_ray_takes_the_file_of_machines(machines):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(machines)
    validate_config(prepared)
    assert prepared["max_workers"] == len(machines["provider"]["worker_ips"])


def test_ray_refuses_what_is_misspelt_in_it(machines):
    from ray.autoscaler._private.util import prepare_config, validate_config

    machines["setup_comands"] = machines.pop("setup_commands")
    with pytest.raises(jsonschema.ValidationError, match="setup_comands"):
        validate_config(prepare_config(machines))


def test_commands_on_the_machines_are_shell(machines):
    kinds = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    for command in (command for kind in kinds for command in machines[kind]):
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_every_machine_starts_with_the_token(machines):
    starts = [
        command
        for kind in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in machines[kind]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token " in command for command in starts)
    assert "~/.ray/auth_token" in machines["file_mounts"]
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_the_ray_job_is_one_of_the_definition(manifests):
    claim, job = manifests
    jsonschema.validate(claim, CLAIM)
    jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda job: job["spec"].update(entryPoint="x"), "'entryPoint' was unexpected"),
        (lambda job: job["spec"]["rayClusterSpec"].pop("headGroupSpec"), "'headGroupSpec' is a re"),
        (lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="on"), "'on' is not"),
        (lambda job: pods_of(job)[1]["containers"][0].pop("name"), "'name' is a required"),
        (lambda job: pods_of(job)[0].update(volume=[]), "'volume' was unexpected"),
    ],
)
def test_the_definition_finds_what_is_wrong(ray_job, change, text):
    change(ray_job)
    with pytest.raises(jsonschema.ValidationError, match=text):
        jsonschema.validate(ray_job, RAY_JOB)


def test_every_node_of_the_ray_job_has_the_same_image_and_storage(ray_job, manifests):
    pods = pods_of(ray_job)
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    for pod in pods:
        [volume], [mount] = pod["volumes"], pod["containers"][0]["volumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == manifests[0]["metadata"]["name"]
        assert (mount["name"], mount["mountPath"]) == (volume["name"], "/shared")
    assert manifests[0]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_no_node_of_the_ray_job_may_do_more_than_it_needs(ray_job):
    for pod in pods_of(ray_job):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        [container] = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert ray_job["spec"]["rayClusterSpec"]["authOptions"]["mode"] == "token"


def test_the_ray_job_names_a_module_and_whole_paths_and_this_ray(ray_job):
    words = ray_job["spec"]["entrypoint"].split()
    assert words[:2] == ["python", "-m"]
    assert words[2].startswith("ray_jobs.")
    assert all(word.startswith(("-", "/")) for word in words[3:])
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert ray_job["spec"]["rayClusterSpec"]["rayVersion"] in Requirement(extra["ray"][0]).specifier


def test_the_folder_does_not_stand_before_the_module():
    assert FOLDER.is_dir()
    found = importlib.util.find_spec("ray_jobs.cluster")
    assert Path(found.origin) == FOLDER.with_suffix(".py")


def test_the_readme_names_the_files_that_are_there():
    named = set(re.findall(r"\b[\w.]+\.yaml\b", (FOLDER / "README.md").read_text()))
    assert {path.name for path in FOLDER.glob("*.yaml")} <= named
