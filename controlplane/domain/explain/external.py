"""Listeners for clients outside Kubernetes."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_ACTION = (Sort.ACTION,)
_SHOW = (
    "kubectl get svc -l kfleet.dev/cluster=NAME",
    "kubectl get kfc NAME -o jsonpath='{.status.listeners}'",
)

EXTERNAL = (
    Entry(
        "ExternalAddressPending",
        _CHECK,
        "A broker's address for clients outside is not known: nothing has given a Service its load balancer, or the "
        "Kubernetes node that the broker runs on has no address of the wanted types.",
        "It looks again at once when a Service changes. No broker that is up is restarted before its address is known; "
        "one that is down comes back as it was; one that was never started waits in its init container. Brokers that "
        "run, and other listeners, are not touched. Evictions go on, unless a Kubernetes node has no such address.",
        "See the Events of the Service that is named, and whether anything in this Kubernetes makes load balancers for "
        "its loadBalancerClass and annotations; or give external.addressTypes, external.advertisedHost. Taking the "
        "listener out again ends it.",
        _SHOW,
    ),
    Entry(
        "ExternalAddressShared",
        _CHECK,
        "Two brokers would tell clients the same host and port: whoever looks for one would meet the other.",
        "It is told; addresses are what people have given.",
        "Put {nodeId} into external.advertisedHost, or give the brokers an advertisedHost or advertisedPort each.",
        _SHOW,
    ),
    Entry(
        "ServiceRefused",
        _CHECK,
        "Kubernetes refused a Service of the cluster; the message names the field and has Kubernetes' own words: "
        "mostly a node port that another Service has, or one outside the range of the API server.",
        "It tries again at every pass. Brokers that run are not touched.",
        "Ask for another node port, or take it out and Kubernetes chooses one.",
        ("kubectl get svc -A", *_SHOW),
    ),
)

EXTERNAL_ACTIONS = (
    Entry(
        "ApplyAdvertised",
        _ACTION,
        "What a broker tells clients outside is written into NAME-POOL-ID-advertised, for the Kubernetes node that its "
        "pod is on. Its init container waits for that.",
        "Once the broker's certificate is for the address. What a running broker tells changes with its next restart.",
        see=("kfleet explain AdvertisedAddressChanged",),
    ),
    Entry(
        "RemoveService",
        _ACTION,
        "A Service of a listener, or of a broker, that is declared no more is deleted.",
        "Only when no pod was started with that listener.",
    ),
)

EXTERNAL_CAUSES = (
    Entry(
        "AdvertisedAddressChanged",
        (Sort.CAUSE,),
        "A node is restarted because clients outside reach it at another address than it tells them: its load balancer "
        "or Kubernetes node has another one, or another one is declared. Kafka reads that at its start only.",
        "Like any other restart, under all gates of a roll; its certificate is for both addresses meanwhile.",
        see=_SHOW,
    ),
)
