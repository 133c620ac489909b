"""Every name that the code can say in a status, a journal or an Event, found by reading its source (AST).

`produced(root)` walks the packages and answers with names by sort. Places where a name is computed are listed apart:
the test says of each what it can say.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.domain.explain import Sort

CAMEL = re.compile(r"[A-Z][a-z]+(?:[A-Z0-9][A-Za-z0-9]*)*")
SAYING = ("controlplane/domain", "controlplane/services", "operators")
"""Where statuses, journals and Events of the operator come from."""
CATALOGUE_ITSELF = "controlplane/domain/explain/"
SANDBOX = "controlplane/sandbox"
FORMAT_SCRIPT = "controlplane/images/kafka/bin/kafka-node-format"

CONDITIONS_MODULE = "controlplane.api.conditions"
OPERATION_STATES = "controlplane.cli.op_find"
STATUS_FILE = "controlplane/domain/cluster/status.py"
SUMMARY_FILE = "controlplane/domain/health/summary.py"
SETUP_FILE = "controlplane/domain/cluster/setup.py"
EXECUTE_FILE = "controlplane/services/cluster/execute.py"
STATE_CONSTANTS = frozenset({"CRASH_STATES", "CANNOT_START", "REFUSALS"})

KUBELET = frozenset(
    {"BackOff", "Created", "DeadlineExceeded", "Failed", "FailedMount", "Killing", "Pulled", "Pulling", "Started"}
    | {"Unhealthy"}
)
"""Event reasons that the sandbox's node writes in a kubelet's words: Kubernetes explains them."""


@dataclass
class Produced:
    names: dict[Sort, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """Name to the first place that says it, by sort."""
    literals: dict[str, str] = field(default_factory=dict)
    """Every CamelCase text in SAYING, whatever it is for, with its place."""
    unresolved: list[str] = field(default_factory=list)
    """Places where a name is computed."""

    def add(self, sort: Sort, name: str, place: str) -> None:
        self.names[sort].setdefault(name, place)


def produced(root: Path) -> Produced:
    """`root` is the project's, or a directory that looks like it."""
    found = Produced()
    constants = _module_constants(root)
    for folder in (*SAYING, SANDBOX):
        for path in sorted((root / folder).rglob("*.py")):
            name = str(path.relative_to(root))
            if not name.startswith(CATALOGUE_ITSELF):
                _Walk(name, ast.parse(path.read_text()), constants, found).go()
    for constant in ("UNDER_WAY", "BLOCKED_STATE", "AWAITING", "WAITING", "END_NOT_RECORDED"):
        for text in constants.get(OPERATION_STATES, {}).get(constant, ()):
            found.add(Sort.OPERATION_STATE, text, f"controlplane/cli/op_find.py: {constant}")
    script = root / FORMAT_SCRIPT
    for line in script.read_text().splitlines() if script.exists() else ():
        for refusal in () if line.lstrip().startswith("#") else re.findall(r"\brefuse ([A-Z][A-Za-z]+)", line):
            found.add(Sort.REFUSAL, refusal, FORMAT_SCRIPT)
    return found


def _module_constants(root: Path) -> dict[str, dict[str, set[str]]]:
    """Texts that module-level names and enum members stand for, by module: {"X": {...}, "Enum.MEMBER": {...}}."""
    modules: dict[str, dict[str, set[str]]] = {}
    for path in sorted((root / "controlplane").rglob("*.py")):
        module = str(path.relative_to(root).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        known: dict[str, set[str]] = {}
        for node in ast.parse(path.read_text()).body:
            known |= _assigned(node)
            if isinstance(node, ast.ClassDef):
                known |= {f"{node.name}.{key}": value for line in node.body for key, value in _assigned(line).items()}
        modules[module] = known
    return modules


def _assigned(node: ast.stmt) -> dict[str, set[str]]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        texts = {leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)}
        return {node.targets[0].id: {text for text in texts if isinstance(text, str)}}
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
        pairs = zip(node.targets[0].elts, node.value.elts, strict=True)
        return {ast.unparse(name): set(_texts_inside(value)) for name, value in pairs}
    return {}


class _Walk:
    """One file."""

    def __init__(
        self, name: str, tree: ast.Module, constants: Mapping[str, Mapping[str, set[str]]], found: Produced
    ) -> None:
        self.name, self.tree, self.constants, self.found = name, tree, constants, found
        self.module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.imports = dict(_imports(tree))
        self.sandbox = name.startswith(SANDBOX)
        self.says_reasons = not self.sandbox and (
            name == SUMMARY_FILE or any(_called(node) == "set_condition" for node in ast.walk(tree))
        )
        self.not_said = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.Subscript | ast.Compare)
            for part in ast.walk(node)
        }
        self.docstrings = {id(text) for text in _docstrings(tree)}

    def go(self) -> None:
        for function, node in self._nodes():
            if isinstance(node, ast.Call):
                self._call(function, node)
            elif isinstance(node, ast.Tuple) and self.says_reasons and id(node) not in self.not_said:
                self._tuple(function, node)
            elif not self.sandbox:
                self._other(node)
        if self.name == STATUS_FILE:
            for constant in STATE_CONSTANTS:
                self._add_constants(Sort.STATE, constant)
        if self.name == SUMMARY_FILE:
            self._add_constants(Sort.CLUSTER_STATE, "State.")
        if self.name == SETUP_FILE:
            self._setup_steps()

    def _other(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign | ast.keyword):
            self._stop(node)
        elif isinstance(node, ast.match_case) and self.name == EXECUTE_FILE:
            self._case(node)
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Constant) and id(node) not in self.docstrings:
            self._constant(node)

    def _add_constants(self, sort: Sort, prefix: str) -> None:
        for key, texts in self.constants[self.module].items():
            for text in texts if key.startswith(prefix) else ():
                self.found.add(sort, text, f"{self.name}: {key}")

    def _setup_steps(self) -> None:
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SetupStep":
                for leaf in ast.walk(node.value):
                    if isinstance(leaf, ast.Name):
                        self.found.add(Sort.ACTION, leaf.id, f"{self.name}:{node.lineno}")

    def _nodes(self) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef | None, ast.AST]]:
        """Every node with the function it stands in."""
        stack: list[tuple[ast.FunctionDef | ast.AsyncFunctionDef | None, ast.AST]] = [(None, self.tree)]
        while stack:
            function, node = stack.pop()
            yield function, node
            inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
            stack += [(inner, child) for child in ast.iter_child_nodes(node)]

    def _call(self, function: ast.FunctionDef | ast.AsyncFunctionDef | None, call: ast.Call) -> None:
        match _called(call):
            case "Check" if not self.sandbox:
                self._take(Sort.CHECK, function, call, _argument(call, 0, "name"))
            case "set_condition" if not self.sandbox:
                self._take(Sort.CONDITION, function, call, _argument(call, 1, "type_"))
                self._take(Sort.REASON, function, call, _argument(call, 3, "reason"))
            case "record" if len(call.args) >= 3 or any(word.arg == "reason" for word in call.keywords):
                self._take(Sort.EVENT, function, call, _argument(call, 2, "reason"))
            case "normal" | "warning" if self.sandbox and isinstance(call.func, ast.Attribute) and len(call.args) >= 3:
                if "events" in ast.unparse(call.func.value):
                    self._take(Sort.EVENT, function, call, call.args[1])
            case "Standing":
                self._take(Sort.REASON, function, call, _argument(call, 1, "reason"))
            case "Obstacle":
                self._take(Sort.REASON, function, call, _argument(call, 0, "reason"))
            case "Told":
                self._take(Sort.EVENT, function, call, _argument(call, 1, "reason"))
            case "_turn":
                self._take(Sort.OUTCOME, function, call, _argument(call, 2, "outcome"))
            case "OperationStep" if not self.sandbox:
                self._take(Sort.STEP, function, call, _argument(call, 9, "verb"))
            case "_warn" if self.sandbox:
                self._take(Sort.EVENT, function, call, call.args[1])
            case "entry_of":
                self._take(Sort.OUTCOME, function, call, _argument(call, 2, "outcome"))
            case "finished" | "ended" if not self.sandbox:
                if len(call.args) >= 2:
                    self._take(Sort.OUTCOME, function, call, call.args[1])
            case _:
                pass

    def _tuple(self, function: ast.FunctionDef | ast.AsyncFunctionDef | None, node: ast.Tuple) -> None:
        """`(ok, "Reason", message)`, `("Reason", message)` and `(c.TYPE, ok, "Reason", message)`.

        In `_state` of the status they are a node's state.
        """
        sort = Sort.STATE if self.name == STATUS_FILE and function and function.name == "_state" else Sort.REASON
        typed = bool(node.elts) and isinstance(node.elts[0], ast.Attribute)
        for leaf in node.elts[1:3] if typed else node.elts[:2]:
            for text in _texts_inside(leaf):
                if CAMEL.fullmatch(text) and function is not None:
                    self.found.add(sort, text, f"{self.name}:{node.lineno}")

    def _stop(self, node: ast.Assign | ast.keyword) -> None:
        """`stop = "Cancelled"`, `stop=... or "Denied"`, `outcome = ...`; and `reason = ...` beside conditions."""
        name = node.arg if isinstance(node, ast.keyword) else ast.unparse(node.targets[0])
        sort = Sort.REASON if name == "reason" and self.says_reasons else Sort.OUTCOME
        if name in {"stop", "outcome"} or sort is Sort.REASON:
            for text in _texts_inside(node.value):
                self.found.add(sort, text, f"{self.name}:{node.value.lineno}")

    def _case(self, node: ast.match_case) -> None:
        """What `execute` carries out of a roll."""
        if isinstance(node.pattern, ast.MatchClass):
            head, _, action = ast.unparse(node.pattern.cls).rpartition(".")
            if head == "rolling":
                self.found.add(Sort.ACTION, action, f"{self.name}:{node.pattern.lineno}")

    def _attribute(self, node: ast.Attribute) -> None:
        """Constants of the conditions module, verbs of a roll and reasons for a restart, where they are used."""
        text = ast.unparse(node)
        head, _, rest = text.partition(".")
        if self.imports.get(head) == CONDITIONS_MODULE:
            for value in self.constants[CONDITIONS_MODULE].get(rest, ()):
                if CAMEL.fullmatch(value):
                    self.found.add(Sort.CONDITION, value, f"{self.name}:{node.lineno}")
        values = self.constants["controlplane.domain.rolling.values"]
        for owner, sort in (("Step", Sort.STEP), ("RestartReason", Sort.CAUSE)):
            key = f"{owner}.{node.attr}"
            if key in values and text.endswith(key):
                for value in values[key]:
                    self.found.add(sort, value, f"{self.name}:{node.lineno}")

    def _constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and CAMEL.fullmatch(node.value):
            self.found.literals.setdefault(node.value, f"{self.name}:{node.lineno}")

    def _take(
        self,
        sort: Sort,
        function: ast.FunctionDef | ast.AsyncFunctionDef | None,
        call: ast.Call,
        value: ast.expr | None,
    ) -> None:
        texts = self._texts(value, function)
        if texts is None:
            place = f"{self.name}::{function.name if function else ''}::{_called(call)}"
            self.found.unresolved.append(place)
            return
        for text in texts - (KUBELET if self.sandbox else frozenset()):
            self.found.add(sort, text, f"{self.name}:{call.lineno}")

    def _texts(
        self, value: ast.expr | None, function: ast.FunctionDef | ast.AsyncFunctionDef | None
    ) -> set[str] | None:
        """The texts that an expression can be; None when that cannot be seen."""
        match value:
            case ast.Constant(value=str() as text):
                return {text}
            case ast.IfExp(body=body, orelse=orelse):
                one, other = self._texts(body, function), self._texts(orelse, function)
                return one | other if one is not None and other is not None else None
            case ast.Attribute():
                head, _, rest = ast.unparse(value).partition(".")
                return self.constants.get(self.imports.get(head, ""), {}).get(rest)
            case ast.Name(id=name):
                local = self._local(name, function)
                if local is not None:
                    return local
                if name in self.constants[self.module]:
                    return self.constants[self.module][name]
                module, _, attribute = self.imports.get(name, "").rpartition(".")
                return self.constants.get(module, {}).get(attribute)
            case _:
                return None

    def _local(self, name: str, function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> set[str] | None:
        """What a function assigns to `name`, or loops over with it."""
        texts: set[str] = set()
        for node in ast.walk(function) if function is not None else ():
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    inner = self._texts(value, None)
                    if inner is None:
                        return None
                    texts |= inner
                case ast.For(target=ast.Tuple(elts=[ast.Name(id=target), *_]), iter=ast.Tuple(elts=rows)) if (
                    target == name
                ):
                    for row in rows:
                        if isinstance(row, ast.Tuple):
                            texts |= self._texts(row.elts[0], None) or set()
        return texts or None


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    if len(call.args) > position:
        return call.args[position]
    return next((word.value for word in call.keywords if word.arg == name), None)


def _texts_inside(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts_inside(body)
            yield from _texts_inside(orelse)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _texts_inside(value)
        case _:
            return
