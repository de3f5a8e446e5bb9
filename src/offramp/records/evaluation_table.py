"""Export of the evaluations of a run, and of its static networks, as a Parquet table, one row each."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from offramp.errors import InputError
from offramp.files.safe_files import replacing
from offramp.jsonio import to_data
from offramp.objectives.evaluation import METRICS, Evaluation, Metric
from offramp.records.run_record import RunStore
from offramp.records.stored_rows import EvaluationOrigin


def export_results(store: RunStore, path: Path) -> int:
    """Write all evaluations of a run as a Parquet table: those of its candidates, then those of its static networks.

    Columns: ``batch`` and ``position`` of the proposal, empty for static networks that came along with candidates;
    ``static``, whether the network has no early exit; ``status``, ``error``; one column per metric (validation split),
    and per ``recall:NAME`` that the run measured; ``feasible``; ``on_front``, whether it is on the front of its kind;
    ``violations``, ``exit_taps``, ``thresholds``, ``exit_rates`` as lists; ``seconds`` and ``worker``; ``architecture``
    as JSON.

    Args:
        store: The run.
        path: The file, ``*.parquet``; an existing one is replaced.

    Returns:
        Number of evaluations written.

    Raises:
        InputError: pyarrow is not installed, the name does not end in ``.parquet`` or ``.pq``, or the file cannot be
            written.
    """
    if path.suffix.lower() not in (".parquet", ".pq"):
        raise InputError(f"The table is written as Parquet: its name must end in .parquet or .pq, got {str(path)!r}.")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise InputError('Writing Parquet needs pyarrow. Install it with: pip install "offramp[parquet]"') from exc
    proposed, fronts = store.evaluations(), store.fronts()
    known = {item.architecture for item in proposed if item.architecture.is_static}
    statics = [item for item in store.static_candidates() if item.architecture not in known]
    origins = (*store.origins(), *(None for _ in statics))
    members = {item.architecture for front in (fronts.early_exit, fronts.static) for item in front}
    metrics = dict.fromkeys((*METRICS, *(name for evaluation in (*proposed, *statics) for name in evaluation.values)))
    rows = [
        _row(evaluation, origin, metrics, on_front=evaluation.architecture in members)
        for evaluation, origin in zip((*proposed, *statics), origins, strict=True)
    ]
    numbers, texts = pa.float64(), pa.string()
    schema = pa.schema(
        [
            ("batch", pa.int64()),
            ("position", pa.int64()),
            ("static", pa.bool_()),
            ("status", texts),
            ("error", texts),
            *((metric, numbers) for metric in metrics),
            ("feasible", pa.bool_()),
            ("on_front", pa.bool_()),
            ("violations", pa.list_(numbers)),
            ("exit_taps", pa.list_(pa.int64())),
            ("thresholds", pa.list_(numbers)),
            ("exit_rates", pa.list_(numbers)),
            ("seconds", numbers),
            ("worker", texts),
            ("architecture", texts),
        ],
        metadata={"offramp_settings": store.config.to_yaml()},
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    try:
        with replacing(path) as stream:
            pq.write_table(table, stream)
    except OSError as exc:
        raise InputError(f"The table cannot be written to {str(path)!r}: {exc.strerror or exc}.") from exc
    return len(rows)


def _row(
    evaluation: Evaluation, origin: EvaluationOrigin | None, metrics: Iterable[Metric], *, on_front: bool
) -> dict[str, Any]:
    details = evaluation.details
    return {
        "batch": origin.batch if origin else None,
        "position": origin.position if origin else None,
        "static": evaluation.architecture.is_static,
        "status": evaluation.status.value,
        "error": evaluation.error,
        **{metric: evaluation.values.get(metric) for metric in metrics},
        "feasible": evaluation.feasible,
        "on_front": on_front,
        "violations": list(evaluation.violations),
        "exit_taps": [choice.tap for choice in evaluation.architecture.exits],
        "thresholds": list(details.policy.thresholds) if details else [],
        "exit_rates": list(details.profile.rates) if details else [],
        "seconds": origin.seconds if origin else None,
        "worker": (origin.worker or None) if origin else None,
        "architecture": json.dumps(to_data(evaluation.architecture), sort_keys=True),
    }
