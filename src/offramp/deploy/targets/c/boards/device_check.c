/* Runs the samples of samples.bin on a board. Writes to answers.bin, for each: exit, class, the sums of its exit and of
 * all exits, and the instructions of this run and of one that is made to leave at each exit. In the end, the stack. */
#include "board.h"
#include "network.h"

static uint8_t sample[UPPER_HEIGHT * UPPER_WIDTH * UPPER_CHANNELS];
static int32_t sums[UPPER_CLASSES];
static void (*const stages[])(int32_t *) = {@STAGES@};

static uint32_t count_run(PREFIX_result *result)
{
    uint64_t start = board_instructions();
    (void)PREFIX_run(sample, result);
    return (uint32_t)(board_instructions() - start);
}

int main(void)
{
    int32_t from = board_open("samples.bin", BOARD_READ);
    int32_t to = board_open("answers.bin", BOARD_WRITE);
    const PREFIX_settings_t usual = PREFIX_settings;
    int32_t stack;
    if (from < 0 || to < 0) {
        return 1;
    }
    while (board_read(from, sample, (int32_t)sizeof sample) == (int32_t)sizeof sample) {
        PREFIX_result result;
        uint32_t counts[1 + UPPER_EXITS];
        counts[0] = count_run(&result);
        board_write(to, &result.exit, 4);
        board_write(to, &result.class_index, 4);
        board_write(to, result.sums, (int32_t)sizeof result.sums);
        PREFIX_settings.rule = UPPER_RULE_THRESHOLD;
        PREFIX_settings.class_offsets = 0;
        for (int32_t e = 0; e < UPPER_EXITS; e++) {
            for (int32_t i = 0; i < UPPER_EXITS; i++) {
                PREFIX_settings.limit[i] = i < e ? -1 : INT64_MAX;
            }
            counts[1 + e] = count_run(&result);
        }
        PREFIX_settings = usual;
        PREFIX_set_pixels(sample);
        for (int32_t i = 0; i < UPPER_EXITS; i++) {
            stages[i](sums);
            board_write(to, sums, (int32_t)sizeof sums);
        }
        board_write(to, counts, (int32_t)sizeof counts);
    }
    stack = board_stack_used();
    board_write(to, &stack, 4);
    return 0;
}
