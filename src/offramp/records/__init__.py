"""The run folder: its record of all that counts, and where everything else lies."""

from offramp.records.run_folder import create_run, read_run, resume_run
from offramp.records.run_record import CheckpointNote, RunStore, StoredBatch, StoredProposal

__all__ = ["CheckpointNote", "RunStore", "StoredBatch", "StoredProposal", "create_run", "read_run", "resume_run"]
