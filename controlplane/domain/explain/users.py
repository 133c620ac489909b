"""What is said of KafkaUsers."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_DESCRIBE = ("kfleet user describe NAME",)
_REFUSAL = (Sort.CHECK, Sort.EVENT)
_REASON = (Sort.REASON, Sort.EVENT)

USERS = (
    Entry(
        "CredentialsCurrent",
        (Sort.CONDITION,),
        "Of a user. True: the Secret named in status.binding has credentials that the brokers take. False: the reason "
        "says why not.",
        "It compares the Secret with what Kafka has at every pass, and puts back what differs.",
        "While it is False look at its reason: `kfleet explain REASON`.",
        ("kfleet user describe NAME", "kfleet user test NAME"),
    ),
    Entry(
        "Current",
        (Sort.REASON,),
        "Reason of CredentialsCurrent=True: Secret and Kafka have the same password, or the certificate is of the "
        "authority that signs now and has time left.",
        "It looks again from time to time (KFLEET_RESYNC_INTERVAL) and at every change.",
    ),
    Entry(
        "PrincipalTaken",
        _REFUSAL,
        "Two objects declare the same principal of one cluster, from whatever namespaces. Who has been let in has it, "
        "else the older one, whatever its state.",
        "This object is not carried out and gets no Secret; deleting it takes nothing from the other one.",
        "Choose another spec.userName in a new object, or delete the older one: it is revoked, and this one follows.",
        ("kubectl get kfu",),
    ),
    Entry(
        "ForeignPrefix",
        _REFUSAL,
        "A rule of the user is about names that it may have no rule on. A tenant's users have rules on topics, groups "
        "and transactional ids that begin with the tenant's topicPrefix; nobody else is allowed anything on those, by "
        "name, by prefix or by '*'.",
        "None of its rules is made. A user that had credentials before keeps them and the rules that it had: a tenant "
        "that is new in a cell cuts nobody off.",
        "Change the rule that the message names. Who had rules on a tenant's names before has them until its object "
        "says otherwise, or it is revoked.",
        ("kubectl get kften", *_DESCRIBE),
    ),
    Entry(
        "PrincipalHasRules",
        _REFUSAL,
        "Somebody has allowed the principal something in Kafka that no KafkaUser declares and that is not on its "
        "tenant's names. A tenant's user would have it too.",
        "The user gets nothing; one that had credentials before keeps them as they are.",
        "Choose another spec.userName in a new object, or have the ACLs removed with kafka-acls.",
        ("kubectl get kften",),
    ),
    Entry(
        "ListenerMissing",
        (Sort.CHECK, Sort.EVENT),
        "No listener of the cluster takes the user's kind of credentials, or the one that spec.listener names does not "
        "exist or takes another kind.",
        "The user gets no credentials. Its ACLs and quotas are kept as declared.",
        "Add a listener with that authentication.type to the KafkaCluster, or name another one.",
        ("kubectl get kfc CLUSTER -o yaml",),
    ),
    Entry(
        "AuthorityMissing",
        _REASON,
        "A certificate cannot be made, or clients could not trust the brokers: a Secret of the cluster's authorities "
        "is not there, lacks a key, holds something that cannot be read, or is a copy from before the last succession.",
        "Credentials that are there already stay as they are and go on working; no new ones are made.",
        "Put the Secret that the message names back from a copy made since the last succession. A new authority means "
        "new certificates for everybody whom the old one has signed.",
        _DESCRIBE,
    ),
    Entry(
        "SecretTaken",
        _REASON,
        "A Secret of that name exists and does not belong to this user.",
        "It is neither read into nor written; the user gets no credentials. One that belongs to an object of the same "
        "name that was deleted goes away by itself.",
        "Delete it, or give spec.secretName another name in a new object.",
        ("kubectl get secret NAME -o jsonpath={.metadata.ownerReferences}",),
    ),
    Entry(
        "SecretMoved",
        _REASON,
        "Somebody changed the user's Secret in the same moment as kfleet.",
        "It reads it again and goes on from what is there.",
    ),
    Entry(
        "SecretRefused",
        _REASON,
        "The API server did not take the user's Secret: RBAC, a policy, a quota of the namespace, or a namespace that "
        "is being deleted.",
        "It tries again at every pass. Kafka is not told of credentials that no Secret has.",
        "The message has the API server's words. The operator needs get, create, patch and delete on Secrets: the "
        "ClusterRole kfleet-secrets has them.",
        ("kubectl describe resourcequota",),
    ),
    Entry(
        "UnexpectedError",
        _REASON,
        "Something about this user that the operator did not expect: an answer of the API server, or a value that it "
        "cannot write. The message and the operator's log have the kind of error, not its words.",
        "Other users are looked after as ever. A revocation is carried out all the same; nothing else is made for this "
        "user before it is gone. It tries again at every pass.",
        "Look at the object for what is out of the common, and report it.",
        _DESCRIBE,
    ),
    Entry(
        "CredentialExists",
        _REFUSAL,
        "Kafka has a password of this user already, and nothing says that kfleet made it: somebody may be using it.",
        "The password and its principal are left alone: no ACL and no quota is made, and neither a revocation nor a "
        "deletion of the object denies it anything. What was made for the object before goes.",
        "Delete it with kafka-configs, or set spec.exclusive: true: then a new one takes its place, and clients need "
        "the Secret's.",
        _DESCRIBE,
    ),
    Entry(
        "CertificateStillValid",
        _REFUSAL,
        "The principal was revoked, and certificates made for it have not expired, or nobody knows of any. A "
        "certificate cannot be called back: lifting the denial would let in whoever has it. That holds for an object "
        "that was deleted and declared anew too, with a password or in another tenant, and while whenNoAcl is Allow.",
        "The principal stays denied (while whenNoAcl is Allow that is owed for when it ends), and gets no new "
        "credentials, until the last one has expired, and a day more for clocks that differ.",
        "Use another spec.userName. If it is certain that nobody has an old certificate, delete the principal's four "
        "DENY ACLs (All on every topic, group and transactionalId, and on the cluster) with kafka-acls.",
        _DESCRIBE,
    ),
    Entry(
        "SessionsNotOver",
        _REFUSAL,
        "The user was revoked or deleted a short time ago, and is to be let in again. A session that was logged in "
        "with the former password lives until it has to prove itself again: with the denial gone it would have the "
        "user's rights, which may be another tenant's by now.",
        "The principal stays denied, without a password and a Secret, until the time in the message: 16 minutes after "
        "its password was deleted. Then it is let in.",
        "Wait, or use another spec.userName in a new object. If it is certain that nobody is logged in, delete the "
        "principal's four DENY ACLs (All on every topic, group and transactionalId, and on the cluster) with "
        "kafka-acls.",
        _DESCRIBE,
    ),
    Entry(
        "AuthorizationDisabled",
        _REFUSAL,
        "The user has ACLs or is revoked, and the cluster has no authorizer: everybody may do everything.",
        "Credentials and quotas are kept as declared; ACLs follow once there is an authorizer.",
        "Set spec.authorization.type: Standard on the KafkaCluster.",
        ("kubectl get kfc CLUSTER -o yaml",),
    ),
    Entry(
        "DenialImpossible",
        _REFUSAL,
        "A user with a certificate is revoked while the cluster's spec.authorization.whenNoAcl is Allow. In that stage "
        "an ACL on every topic, which a denial is, would cut off all clients that have no ACLs.",
        "Its Secret is deleted. Whoever has the certificate is let in until the denial can be made.",
        "Set whenNoAcl: Deny once all users have their ACLs: the denial follows by itself.",
        ("kubectl get kfc CLUSTER -o yaml", *_DESCRIBE),
    ),
    Entry(
        "Revoked",
        _REASON,
        "The annotation kfleet.dev/revoked is set: the principal is denied everything, its password and its Secret are "
        "gone. While whenNoAcl is Allow it is denied nothing: it is the password that is gone.",
        "Four DENY ACLs bite at the next request of every connection, open ones included. Without them open "
        "connections end when they have to prove themselves again (15 minutes). The rest stays as declared.",
        "Take the annotation away to let the user in again; it gets new credentials once its last session has ended, "
        "16 minutes after it was revoked. A user with a certificate stays out until that has expired.",
        _DESCRIBE,
    ),
    Entry(
        "Revoking",
        _REASON,
        "The object was deleted, and waits until its principal is denied and its credentials are gone from Kafka.",
        "It tries again while brokers do not answer. When its cluster is deleted too, the object goes at once.",
        "Bring the brokers back. Taking the finalizer kfleet.dev/user away lets the object go and the user stay in.",
        _DESCRIBE,
    ),
    Entry(
        "CredentialsIssued",
        (Sort.EVENT,),
        "The user has credentials for the first time, or for the first time since it was revoked.",
        "Nothing further.",
        "Mount the Secret.",
    ),
    Entry(
        "CredentialsRotated",
        (Sort.EVENT,),
        "The Secret has new credentials: they were old enough, somebody asked (`kfleet user rotate`), or the authority "
        "is a new one.",
        "A password that was replaced is not taken any more by new connections; open ones go on until they have to "
        "prove themselves again (15 minutes). A certificate that was replaced is valid until it expires.",
        "Clients have to read the Secret again within that time.",
    ),
    Entry(
        "CredentialsReplaced",
        (Sort.EVENT,),
        "The Secret was gone, or what it held could not be used: kfleet keeps no copy of a password, so that it made "
        "new credentials.",
        "The Secret is there again. The old password is not taken any more.",
        "Clients have to read the Secret again. Find out who deleted or edited it.",
    ),
    Entry(
        "SecretUpdated",
        (Sort.EVENT,),
        "Keys of the Secret, or the annotation kfleet.dev/issued-at, were not as they follow from its credentials and "
        "the cluster, and are again: somebody edited them, or the cluster's addresses or its authority changed. The "
        "message names them.",
        "Other keys in the Secret stay as they are. A password that somebody wrote into it is taken if it is 32 to 128 "
        "letters, digits, '-' and '_'.",
    ),
    Entry(
        "DriftCorrected",
        (Sort.EVENT,),
        "Somebody changed ACLs, quotas or the password of the user in Kafka beside its declaration. status.drift "
        "counts it.",
        "They were put back.",
        "Change the KafkaUser instead. If it goes on, find out who writes there.",
        _DESCRIBE,
    ),
    Entry(
        "UserRevoked",
        (Sort.EVENT,),
        "The principal was denied everything (but not while whenNoAcl is Allow), and its password and its Secret are "
        "gone.",
        "The denial stays until the user is let in again; that of a deleted user until its last session or certificate "
        "has ended.",
        see=_DESCRIBE,
    ),
    Entry(
        "SecretLeft",
        (Sort.EVENT,),
        "A user was deleted in a namespace that is not enrolled: it is kept out, and the operator may not delete its "
        "Secret.",
        "Nothing further: Kubernetes deletes what belonged to an object that is gone. What the Secret has lets nobody "
        "in.",
        "If it is still there after a minute, delete it.",
        ("kfleet explain NamespaceNotEnrolled",),
    ),
    Entry(
        "SecretComplete",
        (Sort.CHECK,),
        "`kfleet user test`: whether the user's Secret has every key that a client needs.",
        "The operator restores keys that are missing.",
        "See why it did not: `kfleet user describe`.",
        _DESCRIBE,
    ),
    Entry(
        "CertificateValid",
        (Sort.CHECK,),
        "`kfleet user test`: whether the certificate in the user's Secret is valid now.",
        "The operator renews it after two thirds of its life.",
        "See why it did not: `kfleet user describe`.",
        _DESCRIBE,
    ),
    Entry(
        "LoggedIn",
        (Sort.CHECK,),
        "`kfleet user test`: whether one of the bootstrap servers let a client in that used the Secret as it is.",
        "One line a server, with its words or the client's when it did not.",
        "No answer: look at the cluster, and whether its addresses can be reached from here. A refusal: look at the "
        "user; right after a rotation try again.",
        ("kfleet cluster health NAME", *_DESCRIBE),
    ),
    Entry(
        "MayAsDeclared",
        (Sort.CHECK,),
        "`kfleet user test`: whether the brokers grant what an ALLOW rule says, by their own word. Topics that exist "
        "and groups named in full are asked about; nothing is written or read.",
        "One line a rule. What was asked about and not answered does not pass.",
        "A DENY rule wins over every ALLOW, one that somebody else made included.",
        _DESCRIBE,
    ),
)
