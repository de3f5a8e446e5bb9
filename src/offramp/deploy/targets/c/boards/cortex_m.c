/* Start-up of a Cortex-M: vectors, data, the vector and floating-point unit, and the SysTick timer. */
#include "board.h"

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define TOP 0xFFFFFFu

extern uint32_t _data_source[];
extern uint32_t _data_start[];
extern uint32_t _data_end[];
extern uint32_t _bss_start[];
extern uint32_t _bss_end[];
extern uint32_t _stack_top[];

void board_start(void);
uintptr_t board_call(uintptr_t operation, const void *arguments);
void reset(void);
void tick(void);
void fault(void);

static volatile uint32_t wraps;

__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {
    (void (*)(void))(uintptr_t)_stack_top, reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault,
    tick,
};

uintptr_t board_call(uintptr_t operation, const void *arguments)
{
    register uintptr_t first __asm__("r0") = operation;
    register const void *second __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(first) : "r"(second) : "memory");
    return first;
}

void fault(void)
{
    board_print("fault\n");
    board_exit(1);
}

void tick(void)
{
    wraps++;
}

/* SysTick runs with the clock of the processor, of which QEMU makes a tick every BOARD_TICK hundredths of an instruction. */
uint64_t board_instructions(void)
{
    uint32_t before;
    uint32_t value;
    do {
        before = wraps;
        value = SYST_CVR;
    } while (before != wraps);
    return ((uint64_t)before * (TOP + 1u) + (TOP - value)) * BOARD_TICK / 100u;
}

void reset(void)
{
    const uint32_t *from = _data_source;
    for (uint32_t *to = _data_start; to < _data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = _bss_start; to < _bss_end; to++) {
        *to = 0u;
    }
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    SYST_RVR = TOP;
    SYST_CVR = 0u;
    SYST_CSR = 7u;
    board_start();
}
