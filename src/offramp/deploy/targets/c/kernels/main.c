/* Example: cc -std=c99 -O2 -o example main.c network.c && ./example < pixels.raw */
#include "network.h"
#include <stdio.h>

static uint8_t pixels[UPPER_HEIGHT * UPPER_WIDTH * UPPER_CHANNELS];

int main(void)
{
    PREFIX_result result;
    while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels) {
        (void)PREFIX_run(pixels, &result);
        printf("class %ld at exit %ld\n", (long)result.class_index, (long)result.exit);
    }
    return 0;
}
