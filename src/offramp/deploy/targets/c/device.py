"""Chips on which an export runs in QEMU: compiler, flags, board."""

import shutil
from dataclasses import dataclass

from offramp.errors import InputError

_ARM = "arm-none-eabi-gcc"
_RISCV = "riscv64-unknown-elf-gcc"
_ARM_PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
_RISCV_PACKAGES = "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc"


@dataclass(frozen=True)
class Device:
    """A chip and the board that QEMU has it on.

    Attributes:
        name: Its name.
        compiler: The compiler.
        flags: Flags of the compiler that name the chip.
        start: The file of its start-up, of `boards`.
        linker_script: The linker script, of `boards`.
        emulator: The emulator and its board.
        packages: Debian packages that hold the tools.
    """

    name: str
    compiler: str
    flags: tuple[str, ...]
    start: str
    linker_script: str
    emulator: tuple[str, ...]
    packages: str

    @property
    def missing(self) -> tuple[str, ...]:
        """Tools that are not on this machine."""
        return tuple(tool for tool in (self.compiler, self.emulator[0]) if shutil.which(tool) is None)


def _cortex(name: str, flags: str, board: str, linker_script: str = "mps2.ld", tick: int = 4000) -> Device:
    """A Cortex-M; a tick of its timer takes ``tick`` hundredths of an instruction, at one instruction a nanosecond."""
    usual = ("-mthumb", f"-mcpu={name}", *flags.split(), f"-DBOARD_TICK={tick}")
    return Device(name, _ARM, usual, "cortex_m.c", linker_script, ("qemu-system-arm", "-M", board), _ARM_PACKAGES)


def _riscv(name: str, abi: str) -> Device:
    flags = (f"-march={name}", f"-mabi={abi}", "--specs=picolibc.specs")
    emulator = ("qemu-system-riscv32", "-M", "virt", "-cpu", "rv32", "-bios", "none")
    return Device(name, _RISCV, flags, "riscv.c", "riscv-virt.ld", emulator, _RISCV_PACKAGES)


DEVICES = {
    device.name: device
    for device in (
        _cortex("cortex-m3", "", "mps2-an385"),
        _cortex("cortex-m4", "-mfloat-abi=hard -mfpu=fpv4-sp-d16", "mps2-an386"),
        _cortex("cortex-m7", "-mfloat-abi=hard -mfpu=fpv5-d16", "mps2-an500"),
        # 32 MHz: a tick takes 31.25 instructions.
        _cortex("cortex-m55", "-mfloat-abi=hard", "mps3-an547", "mps3-an547.ld", tick=3125),
        _riscv("rv32imac", "ilp32"),
        _riscv("rv32imafc", "ilp32f"),
    )
}
"""By name."""


def device_named(name: str) -> Device:
    """Give a chip whose tools are on this machine.

    Args:
        name: Its name.

    Returns:
        The chip.

    Raises:
        InputError: If there is no such chip, or a tool is missing.
    """
    device = DEVICES.get(name)
    if device is None:
        raise InputError(f"QEMU must run one of {', '.join(DEVICES)}, got {name!r}.")
    if device.missing:
        raise InputError(
            f"To run {name} in QEMU, {' and '.join(device.missing)} must be installed: "
            f"`apt-get install --no-install-recommends {device.packages}`."
        )
    return device
