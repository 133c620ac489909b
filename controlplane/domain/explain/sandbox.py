"""Events of the sandbox's own parts; those that a kubelet would write in the same words are Kubernetes' own."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_EVENT = (Sort.EVENT,)

SANDBOX = (
    Entry(
        "Unsupported",
        _EVENT,
        "In the sandbox: a pod or a Service asks for something that the sandbox's node or Service proxy cannot do; the "
        "note names the fields.",
        "The pod is not started, or that part of the Service is not carried.",
        "Leave the fields out, or use another Kubernetes (kfleet ... --context).",
        ("kfleet sandbox status", "kubectl describe pod POD"),
    ),
    Entry(
        "NotEnforced",
        _EVENT,
        "In the sandbox: a pod runs, and the note names fields that a process node does not enforce (such as limits of "
        "CPU and memory).",
        "The pod runs without them.",
    ),
    Entry(
        "FailedPreStopHook",
        _EVENT,
        "In the sandbox: a container's preStop hook failed or took too long.",
        "The container is stopped all the same, as a kubelet does.",
        "Read the container's logs.",
        ("kubectl logs POD",),
    ),
    Entry(
        "ListenFailed",
        _EVENT,
        "In the sandbox: the Service proxy could not listen on a Service's address and port.",
        "It tries again, unless the port needs root.",
        "See the note: mostly another process has the port, or it is below 1024.",
        ("kfleet sandbox status", "kfleet sandbox logs proxy"),
    ),
    Entry(
        "VolumeResizeSuccessful",
        _EVENT,
        "The provisioner has given a claim the larger size that it asks for. A directory has the room of its disk, so "
        "only the numbers change.",
        "The claim's status has the new capacity.",
    ),
    Entry(
        "ProvisioningSucceeded",
        _EVENT,
        "In the sandbox: a local volume was made for a claim, on the node that the scheduler chose.",
        "The claim is bound to it.",
    ),
    Entry(
        "ProvisioningFailed",
        _EVENT,
        "In the sandbox: no local volume could be made for a claim; the note says why.",
        "It tries again.",
        "See the note: mostly the disk is full.",
        ("kfleet sandbox status", "kfleet sandbox logs provisioner"),
    ),
    Entry(
        "VolumeFailedDelete",
        _EVENT,
        "In the sandbox: the directory of a volume that is no longer used could not be removed.",
        "It tries again.",
        "See the note, and remove what keeps the directory busy.",
        ("kfleet sandbox logs provisioner",),
    ),
)
