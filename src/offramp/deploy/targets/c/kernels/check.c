/* Writes the steps; reads samples, writes for each: exit, class, and the sums of its exit and of all exits. */
#include "network.h"
#include <stdio.h>
#include <string.h>

static uint8_t sample[UPPER_HEIGHT * UPPER_WIDTH * UPPER_CHANNELS];
static int32_t sums[UPPER_CLASSES];

int main(int argc, char **argv)
{
    static void (*const stages[])(int32_t *) = {@STAGES@};
    int raw = argc > 1 && strcmp(argv[1], "pixels") == 0;
    (void)fwrite(PREFIX_steps, sizeof PREFIX_steps, 1, stdout);
    while (fread(sample, 1, sizeof sample, stdin) == sizeof sample) {
        PREFIX_result result;
        if (raw) {
            (void)PREFIX_run(sample, &result);
        } else {
            (void)PREFIX_run_values(sample, &result);
        }
        (void)fwrite(&result.exit, sizeof(int32_t), 1, stdout);
        (void)fwrite(&result.class_index, sizeof(int32_t), 1, stdout);
        (void)fwrite(result.sums, sizeof(int32_t), UPPER_CLASSES, stdout);
        if (raw) {
            PREFIX_set_pixels(sample);
        } else {
            PREFIX_set_values(sample);
        }
        for (int32_t i = 0; i < UPPER_EXITS; i++) {
            stages[i](sums);
            (void)fwrite(sums, sizeof(int32_t), UPPER_CLASSES, stdout);
        }
    }
    return 0;
}
