/* Semihosting and the stack, for both families. */
#include "board.h"
#include <string.h>

#define PAINT 0xA5A5A5A5u

extern uint32_t _end_of_data[];
extern uint32_t _stack_top[];

int main(void);
void board_start(void);
uintptr_t board_call(uintptr_t operation, const void *arguments);

int32_t board_open(const char *name, int32_t mode)
{
    uintptr_t block[3] = {(uintptr_t)name, (uintptr_t)mode, (uintptr_t)strlen(name)};
    return (int32_t)board_call(1u, block);
}

int32_t board_read(int32_t file, void *data, int32_t size)
{
    uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, (uintptr_t)size};
    return size - (int32_t)board_call(6u, block);
}

void board_write(int32_t file, const void *data, int32_t size)
{
    uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, (uintptr_t)size};
    (void)board_call(5u, block);
}

void board_print(const char *text)
{
    (void)board_call(4u, text);
}

void board_exit(int32_t failed)
{
    /* 0x20026: the program ended as it wanted to; 0x20023: with an error. */
    uintptr_t block[2] = {failed == 0 ? 0x20026u : 0x20023u, 0u};
    (void)board_call(0x18u, sizeof(uintptr_t) == 4u ? (const void *)block[0] : (const void *)block);
    for (;;) {
    }
}

int32_t board_stack_used(void)
{
    const uint32_t *place = _end_of_data;
    while (*place == PAINT) {
        place++;
    }
    return (int32_t)((uintptr_t)_stack_top - (uintptr_t)place);
}

/* Paints what the stack may take, then runs the program. */
void board_start(void)
{
    uint32_t here;
    for (uint32_t *place = _end_of_data; (uintptr_t)place + 256u < (uintptr_t)&here; place++) {
        *place = PAINT;
    }
    board_exit(main());
}
