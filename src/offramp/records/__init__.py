"""The run folder: the record of all results, and the paths of its files."""

from offramp.records.run_folder import create_run, read_run, resume_run
from offramp.records.run_record import RunStore
from offramp.records.stored_rows import StoredBatch, StoredCheckpoint, StoredProposal

__all__ = ["RunStore", "StoredBatch", "StoredCheckpoint", "StoredProposal", "create_run", "read_run", "resume_run"]
