/* What a program needs of a board in QEMU: files of the host by semihosting, a count of instructions, the stack. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#define BOARD_READ 1  /* of a file that is there */
#define BOARD_WRITE 5 /* of a new file */

/* Opens a file of the host; below 0 where it cannot be opened. */
int32_t board_open(const char *name, int32_t mode);

/* Reads `size` bytes; gives how many were read. */
int32_t board_read(int32_t file, void *data, int32_t size);

/* Writes `size` bytes. */
void board_write(int32_t file, const void *data, int32_t size);

/* Prints a text that ends with 0. */
void board_print(const char *text);

/* Ends the emulator; its exit status is 0 where `failed` is 0. */
void board_exit(int32_t failed);

/* How many instructions were executed so far; meant for differences. QEMU must run with -icount shift=0. */
uint64_t board_instructions(void);

/* The most bytes of the stack that were in use so far. */
int32_t board_stack_used(void);

#endif
