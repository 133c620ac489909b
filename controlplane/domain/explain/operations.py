"""What people and the ledger say to an operation, how it ends, and the Events about it."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_EVENT = (Sort.EVENT,)
_SHOW = ("kfleet op show ID",)
_FINISHES = "What was begun is finished; nothing new is begun."

HOLDS = (
    Entry(
        "Paused",
        (Sort.CHECK, Sort.CLUSTER_STATE),
        "The object carries the annotation kfleet.dev/paused=true.",
        f"{_FINISHES} It goes on by itself when the annotation is gone.",
        "Resume the operation, or remove the annotation.",
        ("kfleet op resume ID", "kubectl annotate kfc NAME kfleet.dev/paused-"),
    ),
    Entry(
        "Cancelled",
        (Sort.CHECK, Sort.OUTCOME, Sort.CLUSTER_STATE),
        "Somebody cancelled the operation (annotation kfleet.dev/cancel with its id).",
        "What was begun is finished or undone, then the operation ends. It does not begin again until that is taken "
        "back or the spec changes.",
        "`kfleet op resume` takes it back; what is left is then planned anew. A roll that ended half-way leaves some "
        "nodes on the old spec; change the spec to get them all to one.",
        ("kfleet op resume ID", *_SHOW),
    ),
    Entry(
        "Deleted",
        (Sort.CHECK, Sort.REASON),
        "The object that asked for the operation is being deleted.",
        "What was begun is finished or undone, then the object goes.",
        "Nothing.",
    ),
    Entry(
        "JournalFull",
        _CHECK,
        "The ledger's database has not taken what was done so far, and the object's status can hold no more of it.",
        f"{_FINISHES} It goes on by itself once the ledger has taken the entries.",
        "Bring the ledger's database back; the operator's log says what is wrong with it.",
        ("kfleet audit list",),
    ),
    Entry(
        "CellLocked",
        _CHECK,
        "Another operation has the cell: the Lease NAME-cell in the cluster's namespace names it. One operation at a "
        "time works on a cell.",
        "It waits, and goes on when the other has ended. A holder that no longer renews is taken over.",
        "Wait, or cancel the other operation.",
        ("kfleet op list -A", "kubectl get lease NAME-cell -o yaml"),
    ),
)

GUARDS = (
    Entry(
        "OutsideWindow",
        (Sort.CHECK, Sort.CLUSTER_STATE),
        "No maintenance window of the cluster is open (spec.maintenanceWindows); the message says when the next one "
        "opens.",
        f"{_FINISHES} A node that is not up still gets its new spec, and what restarts nothing is done. It goes on "
        "by itself when a window opens, at most half a minute later.",
        "Wait, or have somebody other than who asked for it waive the window for this plan.",
        ("kfleet approve ID --waive-window",),
    ),
    Entry(
        "Hazard",
        _CHECK,
        "A known defect of the Kafka versions concerned applies to this cluster; the message begins with its id.",
        f"{_FINISHES} A node that is not up still gets its new spec, and what restarts nothing is done. It goes on "
        "by itself when the hazard no longer applies.",
        "Follow the remedy in the message, or have somebody other than who asked for it accept the hazard for this "
        "plan.",
        ("kfleet upgrade advise NAME --to VERSION", "kfleet approve ID --accept-hazard HAZARD"),
    ),
)

APPROVALS = (
    Entry(
        "AwaitingApproval",
        (Sort.CHECK, Sort.REASON, Sort.CLUSTER_STATE, Sort.OPERATION_STATE),
        "The plan needs somebody's approval before it begins (spec.rollout.approval of a cluster, spec.approval of a "
        "rebalance: Required), and nobody has approved it yet.",
        "It looks at every Approval of this plan. Nothing is begun until then.",
        "Somebody other than who asked for it looks at the plan and approves or denies it.",
        ("kfleet pending", "kfleet approve ID", "kfleet deny ID"),
    ),
    Entry(
        "ApprovalInvalid",
        _CHECK,
        "Somebody has approved, and it does not count: it is for another plan or another object, it was given by who "
        "asked, it is older than this wait, or what would have refused a forged one was not in force. The message "
        "says which.",
        "It goes on waiting for one that counts.",
        "Have the plan as it stands now approved by somebody other than who asked for it.",
        ("kfleet pending", "kfleet approve ID", "kubectl get kfa"),
    ),
    Entry(
        "Denied",
        (Sort.CHECK, Sort.OUTCOME, Sort.REASON),
        "Somebody who may has denied the plan; their words are in the message. A denial wins over an approval.",
        "The operation ends, or does not begin, until the denial is taken back or the spec changes.",
        "Change the spec, or have who denied it delete their Approval.",
        ("kubectl get kfa", "kubectl delete kfa APPROVAL"),
    ),
)

FROZEN = (
    Entry(
        "PlanNotGuarded",
        _CHECK,
        "The ConfigMaps of a large plan are not kept from being deleted yet.",
        "They are guarded in this pass (a finalizer), then the first step begins.",
    ),
    Entry(
        "UnknownVerb",
        _CHECK,
        "This version of kfleet does not know what the step is to do: a newer one made the plan.",
        "It waits, and goes on by itself under a version that knows it.",
        "Update the operator.",
        ("kfleet version",),
    ),
    Entry(
        "PlanChanged",
        _CHECK,
        "The steps of a plan are not those that its hash says: somebody has changed or removed them (a status, or the "
        "ConfigMaps of a large plan).",
        "No step of it is begun any more; what was begun is undone as far as it can be proven to be of the plan.",
        "Ask for a new plan, and find out who changed this one.",
        (*_SHOW, "kfleet audit list"),
    ),
    Entry(
        "PlanUnfit",
        _CHECK,
        "What a plan has to keep, its goal or its gates are larger than a status can hold.",
        "It proposes nothing and begins nothing.",
        "Ask for less at once, for example in several objects one after another.",
    ),
    Entry(
        "PlanStale",
        _CHECK,
        "The world is no longer what the plan was approved for: partitions are elsewhere, a broker has left, or so "
        "much had been done by somebody else that it is not worth following.",
        "What it did itself is undone, then it ends.",
        "Ask for a new plan.",
        _SHOW,
    ),
    Entry(
        "CleanUpAbandoned",
        _CHECK,
        "The namespace is being deleted, and something that the operation began could not be undone.",
        "It gives up, so that the namespace can go.",
        "Look at the step's target: what was done to it stays.",
        ("kfleet audit list",),
    ),
)

OUTCOMES = (
    Entry(
        "Succeeded",
        (Sort.OUTCOME,),
        "The operation reached its goal.",
        "It is kept as status.lastOperation.",
        see=_SHOW,
    ),
    Entry(
        "Superseded",
        (Sort.OUTCOME, Sort.CHECK),
        "The spec changed while the operation was under way, so that another plan took its place.",
        "What was begun is finished by the new operation.",
        see=("kfleet op list",),
    ),
    Entry(
        "AlreadyDone",
        (Sort.OUTCOME,),
        "The step found done what it was to do. It is not undone later: somebody else did it.",
        "The next step follows.",
    ),
    Entry(
        "NotDone",
        (Sort.OUTCOME,),
        "The stop of a node was written down and then did not happen: the operator ended in between, or was held.",
        "The node is judged anew.",
    ),
    Entry("Undone", (Sort.OUTCOME,), "What the step did was undone.", "The one before it follows."),
    Entry(
        "NothingToUndo",
        (Sort.OUTCOME,),
        "What the step did was gone already when it was to be undone.",
        "The one before it follows.",
    ),
    Entry(
        "Interrupted",
        (Sort.OUTCOME,),
        "The step was under way when somebody ended the operation.",
        "It is undone, where it can be.",
        see=_SHOW,
    ),
    Entry(
        "Abandoned",
        (Sort.OUTCOME,),
        "The step could not be undone before the namespace went.",
        "It gives up, so that the namespace can go.",
        "Look at its target: what was done to it stays.",
        ("kfleet explain CleanUpAbandoned",),
    ),
)

EVENTS = (
    Entry(
        "OperationPlanned",
        _EVENT,
        "A plan was made; the note has its goal and its id.",
        "It begins once nothing holds it.",
        "Look at it.",
        ("kfleet op show ID",),
    ),
    Entry(
        "OperationTurnedBack",
        _EVENT,
        "An operation goes back; the note says why.",
        "What was done is undone, the last step first, where it can be.",
        "Nothing, or watch it.",
        ("kfleet op watch ID",),
    ),
    Entry(
        "OperationEnded",
        _EVENT,
        "An operation ended; the note says how.",
        "Nothing further.",
        "Look at how it ended if it did not succeed.",
        ("kfleet op show ID",),
    ),
    Entry(
        "RollStarted",
        _EVENT,
        "A roll began; the note has its goal and its id.",
        "Nodes follow one after the other.",
        "Nothing, or watch it.",
        ("kfleet op watch ID",),
    ),
    Entry(
        "NodeRestarting",
        _EVENT,
        "A roll stops the node named, to start it anew.",
        "The next one goes only once this one is back in sync.",
        see=("kfleet op watch ID",),
    ),
    Entry(
        "RollSucceeded",
        _EVENT,
        "A roll ended: every node is back and features are at their levels.",
        "Nothing further.",
    ),
    Entry(
        "RollingBack",
        _EVENT,
        "An upgrade brought a fault that is confined to upgraded nodes: every node goes back to the version before.",
        "Nodes that are not up first, then brokers, then controllers, under all gates of a roll but maintenance "
        "windows.",
        "Nothing, or watch it.",
        ("kfleet op list", "kfleet explain RolledBack"),
    ),
    Entry(
        "UpgradeRolledBack",
        _EVENT,
        "Every node is back on the version that ran before the upgrade.",
        "The cluster stays there; the same plan is not tried again.",
        "See `kfleet explain RolledBack`.",
        see=("kfleet cluster describe NAME",),
    ),
    Entry(
        "RollSuperseded",
        _EVENT,
        "A roll ended because the spec asks for something else now.",
        "The next roll goes on from where it was.",
        see=("kfleet op list",),
    ),
    Entry(
        "RollCancelled",
        _EVENT,
        "A roll ended because somebody cancelled it.",
        "It does not begin again until that is taken back or the spec changes.",
        "`kfleet op resume` takes it back.",
        ("kfleet op resume ID",),
    ),
    Entry(
        "RollDenied",
        _EVENT,
        "A roll ended because somebody denied its plan.",
        "It does not begin again until that is taken back or the spec changes.",
        "`kfleet explain Denied` says more.",
        ("kubectl get kfa",),
    ),
)
