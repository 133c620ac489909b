"""Certificates, listeners and who is let in."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_ACTION = (Sort.ACTION,)
_SHOW = ("kfleet cluster describe NAME", "kubectl get kfc NAME -o jsonpath='{.status.certificates}'")
_UNTOUCHED = "Nothing is created, restarted, formatted or deleted. Nodes that were down come back as they were last."

ACCESS = (
    Entry(
        "CertificatesCurrent",
        (Sort.CONDITION,),
        "Of a cluster with spec.security.nodes MutualTls. True: every authority has its key and no certificate ends "
        "soon. False: the reason says what is wrong; the cluster serves all the same until a certificate has ended.",
        "Certificates of its own are renewed long before they end, without a restart where Kafka allows it.",
        "While it is False look at its reason: `kfleet explain REASON`.",
        _SHOW,
    ),
    Entry(
        "CertificatesValid",
        (Sort.REASON,),
        "Every authority has its key, and no certificate of the cluster ends soon.",
        "status.certificates says when each kind of them ends.",
    ),
    Entry(
        "CertificateExpiring",
        _CHECK,
        "A certificate ends within the time that the operator warns before (KFLEET_CERTIFICATE_WARN_BEFORE, 30 days). "
        "Its own it would have renewed by then: something keeps it. One that was given for a listener is its owner's.",
        "It tries to renew its own at every pass.",
        "Of a listener: renew the Secret that the message names; brokers take it over without a restart. Else see the "
        "operator's log, and whether an authority's key is missing.",
        ("kfleet explain AuthorityKeyMissing", *_SHOW),
    ),
    Entry(
        "CertificateExpired",
        _CHECK,
        "A certificate has ended: new connections that rely on it are refused.",
        "It tries to renew its own at every pass. Connections that are open stay.",
        "As for CertificateExpiring, at once.",
        ("kfleet explain CertificateExpiring", *_SHOW),
    ),
    Entry(
        "AuthorityKeyMissing",
        _CHECK,
        "The Secret with an authority's private key (NAME-cluster-ca-key or NAME-clients-ca-key) is gone or does not "
        "hold its key, while certificates that it signed are in use.",
        "No other authority is made in its place: nobody would trust it. Nothing new is signed and nothing renewed; "
        "what is in use works until it ends. New nodes wait.",
        "Put the Secret back from a copy, with its labels.",
        _SHOW,
    ),
    Entry(
        "UsersNotReissued",
        _CHECK,
        "One authority follows another and has had KFLEET_AUTHORITY_OVERLAP, and there are KafkaUsers whose Secret "
        "does not trust the new one yet (before it signs), or whose certificate the former one has signed (before that "
        "is dropped).",
        "The succession waits for them, so that nobody is locked out. At the moment that the message names it goes on "
        "without them: nodes have to be signed anew in time, and what a former authority signed has ended then.",
        "See the CredentialsCurrent of those users: one that is paused, refused or has lost its listener gets nothing "
        "new. Revoke or delete those that nobody uses; they are not waited for.",
        ("kubectl get kfu", "kfleet user describe NAME", *_SHOW),
    ),
    Entry(
        "ListenerCertificateInvalid",
        _CHECK,
        "The Secret that a listener's certificateSecretRef names cannot be shown to clients: it or one of tls.crt, "
        "tls.key and ca.crt is missing, they do not belong together, it has ended, or its subject alternative names do "
        "not cover the names and addresses that clients are sent to, which the message lists: where they begin (the "
        "listener's bootstrap Service), and what each broker tells them.",
        "Before brokers have one that they can use the spec is refused and nothing is touched; those of a new cluster "
        "come up as far as their addresses and wait for one that is for all of them. Afterwards they go on "
        "with the one that they have; a broker that is added meanwhile waits, and the message names it. A "
        "bootstrapHost or advertisedHost that it is not for is not told to clients before there is one.",
        "Correct the Secret, as cert-manager writes it: names belong into dnsNames, addresses into ipAddresses, and a "
        "'*' stands for one label. Or take the field out for a certificate of the cluster's own authority.",
        _SHOW,
    ),
    Entry(
        "SecurityChangeRefused",
        _CHECK,
        "spec.security.nodes was changed. Nodes find one another through it: half of them changed make two clusters.",
        _UNTOUCHED,
        "Set it back. To change it make another cluster and move the data.",
    ),
    Entry(
        "AuthorizationWouldCutOff",
        _CHECK,
        "spec.authorization asks for Deny, and nodes run without authorization: there are no ACLs yet, so that every "
        "client would be cut off.",
        _UNTOUCHED,
        "Set whenNoAcl to Allow: a roll turns authorization on, controllers first, and nobody is cut off. Give every "
        "user its ACLs, then set it to Deny.",
    ),
    Entry(
        "UsersNotReady",
        _CHECK,
        "spec.authorization.whenNoAcl was set from Allow to Deny, and KafkaUsers of the cluster are not Ready: their "
        "ACLs may not be there, and Deny would cut them off.",
        "Nothing of the cluster is touched. It begins by itself once they are Ready; after the first node has been "
        "restarted it is finished whoever comes.",
        "See what keeps those users. Revoke or delete those that nobody uses, or set whenNoAcl back to Allow.",
        ("kubectl get kfu", "kfleet user describe NAME"),
    ),
    Entry(
        "ListenerChangeRefused",
        _CHECK,
        "type, tls or authentication of a listener was changed, or the node port of a broker that tells it to clients. "
        "Its clients would be cut off, one broker after the other.",
        _UNTOUCHED,
        "Set it back. Add another listener beside it, move the clients, then remove this one: two rolls, and nobody is "
        "cut off.",
    ),
)

ACCESS_ACTIONS = (
    Entry(
        "MakeAuthority",
        _ACTION,
        "The private key and certificate of an authority are made: the cluster's own, or that of its users.",
        "Once; one that is there is never made again. It stays when the cluster's object is deleted.",
    ),
    Entry(
        "PublishAuthority",
        _ACTION,
        "What clients and nodes shall trust is written into NAME-cluster-ca or NAME-clients-ca.",
        "Also when somebody edited or deleted it: its contents follow from the authority's key.",
    ),
    Entry(
        "PrepareAuthority",
        _ACTION,
        "An authority ends in time to come (KFLEET_AUTHORITY_RENEW_BEFORE): the one that is to follow is made, and "
        "trusted beside it from now on.",
        "Every node gets both, and is restarted once to trust both as the controllers' client too. Clients have "
        "KFLEET_AUTHORITY_OVERLAP to take up the new ca.crt of NAME-cluster-ca.",
    ),
    Entry(
        "PromoteAuthority",
        _ACTION,
        "The authority that is to follow is trusted by every node and, if it is the cluster's, by every KafkaUser's "
        "Secret, and other clients have had their time: it signs from now on.",
        "Every certificate is signed anew by it, and every node restarted once more. The former one is still trusted.",
    ),
    Entry(
        "DropAuthority",
        _ACTION,
        "Nothing that the former authority signed is in use any more, by nodes or by KafkaUsers: it is trusted no "
        "longer.",
        "Nodes read that without a restart.",
    ),
    Entry(
        "IssueCertificate",
        _ACTION,
        "A certificate is signed for a node or for the operator, with a new key: it is missing, due, of no use, or "
        "does not say what it should.",
        "It lies in a Secret. Nobody is restarted for it.",
        see=("kfleet explain ReloadCertificates",),
    ),
    Entry(
        "ReloadCertificates",
        _ACTION,
        "A node is asked to read its certificates again, because it does not serve the newest one yet.",
        "Every ten seconds until it does: Kubernetes brings a changed Secret to a pod within a minute or two. Nothing "
        "restarts and no connection is closed.",
    ),
    Entry(
        "NoteLoaded",
        _ACTION,
        "A node was seen to serve its newest certificate, which is noted on its Secret.",
        "It is not asked again before the next one.",
    ),
    Entry(
        "RequireRestart",
        _ACTION,
        "What a node was started with ends soon. It has served newer ones since, but to the controllers it shows the "
        "one of its start.",
        "Its epoch (annotation kfleet.dev/certificate-epoch of its Secret) is raised, and a roll restarts it, in a "
        "maintenance window.",
        see=("kfleet explain CertificateChanged",),
    ),
)
