/* Start-up of a RISC-V core on QEMU's board virt. */
#include "board.h"

/* Compilers from 2022 on count reading counters as an extension of its own. */
#define READ_CSR(NAME, VALUE)                                                                                          \
    __asm__ volatile(".option push\n.option arch, +zicsr\ncsrr %0, " NAME "\n.option pop" : "=r"(VALUE))

extern uint32_t _bss_start[];
extern uint32_t _bss_end[];

void board_start(void);
uintptr_t board_call(uintptr_t operation, const void *arguments);
void reset(void);

__attribute__((naked, section(".vectors"), used)) void _start(void)
{
    __asm__ volatile(".option push\n"
                     ".option norelax\n"
                     "la gp, __global_pointer$\n"
                     ".option pop\n"
                     "la sp, _stack_top\n"
                     ".option arch, +zicsr\n"
                     "li t0, 0x6000\n" /* the floating-point unit, where there is one */
                     "csrs mstatus, t0\n"
                     "tail reset\n");
}

__attribute__((naked, noinline)) uintptr_t board_call(uintptr_t operation __attribute__((unused)),
                                                        const void *arguments __attribute__((unused)))
{
    /* The three instructions that semihosting is known by; they must not be compressed or cross a page. */
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".balign 16\n"
                     "slli x0, x0, 0x1f\n"
                     "ebreak\n"
                     "srai x0, x0, 7\n"
                     "ret\n"
                     ".option pop\n");
}

uint64_t board_instructions(void)
{
    uint32_t high;
    uint32_t low;
    uint32_t again;
    do {
        READ_CSR("minstreth", high);
        READ_CSR("minstret", low);
        READ_CSR("minstreth", again);
    } while (high != again);
    return ((uint64_t)high << 32) | low;
}

void reset(void)
{
    for (uint32_t *to = _bss_start; to < _bss_end; to++) {
        *to = 0u;
    }
    board_start();
}
