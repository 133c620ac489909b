"""Each module has a namespace, an operator process and a Lease of its own, in the sandbox that all share."""

from support.cell_fixtures import cell as cell
from support.cell_fixtures import dump_on_failure as dump_on_failure
