"""Sounds in a column of parquet files, as Hugging Face stores them: a struct of bytes and a path, or plain bytes."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from offramp.data.sound.sound_decoding import EncodedSound, is_encoded_sound
from offramp.errors import DataError


class ParquetSounds(Sequence[EncodedSound]):
    """The sounds of a column; one row group of a file is in memory at a time, so they are best read in order."""

    def __init__(self, files: Sequence[Path], columns: Sequence[str]) -> None:
        """Open the files; pyarrow must be installed.

        Args:
            files: The files of one part.
            columns: Column of the sounds in each file.
        """
        import pyarrow.parquet

        self._groups: list[tuple[Path, str, int]] = []
        counts = []
        for file, column in zip(files, columns, strict=True):
            with pyarrow.parquet.ParquetFile(file) as parquet:
                for group in range(parquet.num_row_groups):
                    self._groups.append((file, column, group))
                    counts.append(parquet.metadata.row_group(group).num_rows)
        self._ends = list(accumulate(counts))
        self._loaded: tuple[int, list[Any]] | None = None

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> EncodedSound: ...
    @overload
    def __getitem__(self, index: slice) -> list[EncodedSound]: ...
    def __getitem__(self, index: int | slice) -> EncodedSound | list[EncodedSound]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, position)
        row = position - (self._ends[number - 1] if number else 0)
        file, column, _ = self._groups[number]
        data = self._group(number)[row]
        where = f"in row {row} of row group {self._groups[number][2]} of {str(file)!r} (column {column!r})"
        if not isinstance(data, bytes):
            raise DataError(
                f"Sound {where} must be stored in the file as bytes, but there are none; paths to other files are not "
                "followed. Embed the sounds, or use a folder of sounds with metadata.csv."
            )
        return EncodedSound(where, data)

    def _group(self, number: int) -> list[Any]:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet

        if self._loaded is None or self._loaded[0] != number:
            file, column, group = self._groups[number]
            try:
                with pyarrow.parquet.ParquetFile(file) as parquet:
                    values = parquet.read_row_group(group, columns=[column]).column(0).combine_chunks()
                if pyarrow.types.is_struct(values.type):
                    values = pyarrow.compute.struct_field(values, "bytes")
                self._loaded = number, values.to_pylist()
            except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as exc:
                reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
                raise DataError(
                    f"{str(file)!r} cannot be read ({reason}): it is damaged, cut short or no parquet file. Download "
                    "it again."
                ) from exc
        return self._loaded[1]


def holds_sounds(file: Path, column: str) -> bool:
    """Check whether a column of encoded files holds sounds, by the first bytes of its first row.

    Args:
        file: A parquet file.
        column: A column of bytes, or of structs with bytes.

    Returns:
        True for the formats of sound that are read; False where there is no row.

    Raises:
        DataError: The file is damaged.
    """
    sounds = ParquetSounds([file], [column])
    if not len(sounds):
        return False
    try:
        content = sounds[0].content
    except DataError as exc:
        if "stored in the file as bytes" in str(exc):
            return False
        raise
    return isinstance(content, bytes) and is_encoded_sound(content)
