"""KAN: a network with the familiar verbs. Each verb checks its arguments and delegates.

`KAN` is built up in the order of its verbs: `Seen` (rows and names), `Structured` (prune, widen,
...), `Named` (suggest, fix, formula), `Pictured` (plot, report) and `KAN` itself (make, fit, save).

Verbs that need activations take data (`X`), or use the sample the last `fit` kept. `fit`, `solve`,
`fix_symbolic`, `unfix_symbolic` and `auto_symbolic` act in place; `prune`, `merge`, `refine`,
`widen`, `deepen` and `perturb` return a new model; everything else is a query and changes nothing.
"""

from kansym.model.kan import KAN, load
from kansym.model.seen import Sample

__all__ = ["KAN", "Sample", "load"]
