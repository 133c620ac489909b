"""States of a node in status.nodes, and what its init container refuses."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_STATE = (Sort.STATE,)
_DESCRIBE = ("kubectl describe pod POD",)
_PREVIOUS = ("kubectl logs POD --previous", *_DESCRIBE)
_NEXT = "No other node is stopped. A corrected spec reaches this node first."

NODES = (
    Entry("Running", _STATE, "The node's pod is ready.", "Nothing."),
    Entry("Stopped", _STATE, "The node has no pod.", "Its pod is made in this pass, unless the spec is refused."),
    Entry(
        "Crashed",
        _STATE,
        "The node's container has ended and was restarted, and is not ready; Kubernetes gives no other reason.",
        _NEXT,
        "Read its logs, those of the run before included.",
        _PREVIOUS,
    ),
    Entry(
        "CrashLoopBackOff",
        _STATE,
        "The node's container ends again and again; Kubernetes waits longer each time before it starts it.",
        _NEXT,
        "Read the logs of the run before; correct the spec.",
        _PREVIOUS,
    ),
    Entry(
        "Error",
        _STATE,
        "The node's container ended with an error and is about to be started again.",
        _NEXT,
        "Read the logs of the run before.",
        _PREVIOUS,
    ),
    Entry(
        "RunContainerError",
        _STATE,
        "Kubernetes could not start the node's container.",
        _NEXT,
        "See the pod's Events.",
        _DESCRIBE,
    ),
    Entry(
        "CreateContainerConfigError",
        _STATE,
        "Kubernetes could not put the container together: a ConfigMap, Secret or key that it names is missing.",
        _NEXT,
        "See the pod's Events for what is missing.",
        _DESCRIBE,
    ),
    Entry(
        "ErrImagePull",
        _STATE,
        "Kubernetes could not get the node's image.",
        _NEXT,
        "See the pod's Events: name of the image, registry, credentials (KFLEET_IMAGE_PREFIX).",
        _DESCRIBE,
    ),
    Entry(
        "ImagePullBackOff",
        _STATE,
        "Kubernetes could not get the node's image several times and waits before it tries again.",
        _NEXT,
        "See the pod's Events: name of the image, registry, credentials (KFLEET_IMAGE_PREFIX).",
        _DESCRIBE,
    ),
    Entry(
        "InvalidImageName",
        _STATE,
        "The name of the node's image is not one.",
        _NEXT,
        "Correct the operator's setting KFLEET_IMAGE_PREFIX.",
        _DESCRIBE,
    ),
    Entry(
        "DiskLost",
        (Sort.CHECK, Sort.STATE, Sort.REFUSAL),
        "A log dir that was formatted before is empty: the disk was lost or replaced.",
        "It is never formatted by itself, since an empty node that votes or leads could lose acknowledged records.",
        "Put the right volume back, then delete the node's pod.",
        ("kubectl logs POD -c format", "kubectl get pvc"),
    ),
    Entry(
        "ForeignLogDir",
        (Sort.CHECK, Sort.STATE, Sort.REFUSAL),
        "A log dir holds another node's or another cluster's data, or files that are not Kafka's.",
        "It is never formatted or used.",
        "Put the right volume back, then delete the node's pod.",
        ("kubectl logs POD -c format", "kubectl get pvc"),
    ),
    Entry(
        "InvalidSetting",
        (Sort.REFUSAL,),
        "A value that the node's init container was given is not one that it passes on. This should not happen with "
        "objects that kfleet made.",
        "Nothing is formatted.",
        "Report it, with the message.",
        ("kubectl logs POD -c format",),
    ),
    Entry(
        "FormatFailed",
        (Sort.REFUSAL,),
        "Kafka's own format tool failed; the message has its words.",
        "The init container runs again; a format cut short is finished.",
        "See the message: mostly the disk is full or read-only.",
        ("kubectl logs POD -c format",),
    ),
)
